"""The numbers of a run between two rows of its log: means of the metrics, images a second, time left."""

import collections
import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

LAG = 2  # steps that may be under way while the host reads the metrics of an older one


class NonFiniteError(FloatingPointError):
    """A metric or the state is no longer finite; nothing from that step on was saved."""


class Meter:
    """Averages metrics over a window of steps, reading them from the devices a little late so that nothing waits.

    Reading also holds the host back: it is never more than LAG steps ahead of the devices.

    Args:
        sums: what `sums()` gave at the checkpoint the run resumes from, so that rows do not depend on interruptions.
    """

    def __init__(self, sums: Mapping[str, Any] | None = None):
        self._pending: collections.deque[tuple[int, Mapping[str, jax.Array]]] = collections.deque()
        self._count: int = sums["count"] if sums else 0
        self._totals: dict[str, float] = dict(sums["totals"]) if sums else {}
        self._images = self._steps = 0
        self._since: float | None = None  # the clock starts when the first step, and with it compilation, is done

    def add(self, step: int, metrics: Mapping[str, jax.Array], images: int) -> None:
        """Takes the metrics of `step`, still being computed, on a batch of `images`.

        Raises:
            NonFiniteError: an earlier step's metric is not finite.
        """
        self._pending.append((step, metrics))
        if self._since is None:
            self.finish()
            self._since = time.perf_counter()
        else:
            self._images, self._steps = self._images + images, self._steps + 1
        self._read(LAG)

    def finish(self) -> None:
        """Waits for all steps sent so far. Raises NonFiniteError as `add` does."""
        self._read(0)

    def row(self) -> dict[str, float]:
        """Means over the window, which ends here: the next one begins empty."""
        self.finish()
        means = {name: total / self._count for name, total in self._totals.items()}
        self._count, self._totals = 0, {}
        return means

    def rate(self) -> tuple[float, float]:
        """Images and steps a second since the last call, pauses and compilation left out; zeros when none was timed."""
        now = time.perf_counter()
        seconds = now - self._since if self._since is not None else 0.0
        images, steps = self._images, self._steps
        self._images, self._steps, self._since = 0, 0, now
        return (images / seconds, steps / seconds) if steps else (0.0, 0.0)

    def sums(self) -> dict[str, Any]:
        """The window so far, as JSON."""
        self.finish()
        return {"count": self._count, "totals": dict(self._totals)}

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The time spent inside does not count as training."""
        begin = time.perf_counter()
        yield
        if self._since is not None:
            self._since += time.perf_counter() - begin

    def _read(self, leave: int) -> None:
        while len(self._pending) > leave:
            step, metrics = self._pending.popleft()
            values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
            wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteError(f"{', '.join(wrong)} at step {step}")
            for name, value in values.items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            self._count += 1
