"""The numbers of a run between two rows of its log: means of the metrics, images a second, time left."""

import collections
import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from leo_jax.data.pipeline import SKIPPED

COUNTS = (SKIPPED,)  # metrics of which rows have the sum
LAG = 2  # steps that may be under way while the host reads the metrics of an older one


class NonFiniteError(FloatingPointError):
    """A metric or the state is no longer finite after `step`; nothing from that step on was saved."""

    def __init__(self, text: str, step: int) -> None:
        super().__init__(text)
        self.step = step


class Rate(NamedTuple):
    """How quickly steps follow each other.

    Attributes:
        images: a second.
        steps: a second.
        input_wait: share of the time in which the devices stood still because the next batch was not there.
    """

    images: float
    steps: float
    input_wait: float


class Meter:
    """Averages metrics over a window of steps, reading them from the devices a little late so that nothing waits.

    Reading also holds the host back: it is never more than LAG steps ahead of the devices.

    Args:
        sums: what `sums()` gave at the checkpoint the run resumes from, so that rows do not depend on interruptions.
    """

    def __init__(self, sums: Mapping[str, Any] | None = None):
        self._pending: collections.deque[tuple[int, Mapping[str, Any]]] = collections.deque()
        self._count: int = sums["count"] if sums else 0
        self._totals: dict[str, float] = dict(sums["totals"]) if sums else {}
        self._images = self._steps = 0
        self._starved = 0.0  # seconds of waiting for input while no step was under way
        self._overlapping: list[float] = []  # such waits that began while one was, which ended before the batch came
        self._alone: float | None = None  # when the last step was sent, if no other was under way then
        self._drained = 0.0  # when the last `finish` was over
        self._since: float | None = None  # the clock starts when the first step, and with it compilation, is done

    def add(self, step: int, metrics: Mapping[str, Any], images: int) -> None:
        """Takes the metrics of `step`, still being computed, on a batch of `images`.

        Raises:
            NonFiniteError: an earlier step's metric is not finite.
        """
        self._alone = time.perf_counter() if self._idle() else None
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
        self._drained = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """To stand around the taking of a batch: sees whether the devices run out of work meanwhile."""
        idle, begin = self._idle(), time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        if self._since is None:
            return
        if idle:
            self._starved += seconds
        elif self._idle():
            self._overlapping.append(seconds)

    def row(self) -> dict[str, float]:
        """Means over the window, which ends here: the next one begins empty. Of COUNTS, sums."""
        self.finish()
        means = {name: total if name in COUNTS else total / self._count for name, total in self._totals.items()}
        self._count, self._totals = 0, {}
        return means

    def rate(self) -> Rate:
        """Since the last call, pauses and compilation left out; zeros when no step was timed. To be called after `row`."""
        now = time.perf_counter()
        seconds = now - self._since if self._since is not None else 0.0
        images, steps, starved = self._images, self._steps, self._starved
        if steps:
            # When the devices became idle in an overlapping wait is not known, but how long a step takes is: as long as
            # the last one did, if it was sent to idle devices; else at most the mean, as the devices are the limit.
            step = self._drained - self._alone if self._alone is not None else seconds / steps
            starved += sum(max(wait - step, 0.0) for wait in self._overlapping)
        self._images, self._steps, self._since = 0, 0, now
        self._starved, self._overlapping = 0.0, []
        return Rate(images / seconds, steps / seconds, min(starved / seconds, 1.0)) if steps else Rate(0.0, 0.0, 0.0)

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

    def _idle(self) -> bool:
        """Whether the devices are done with every step sent so far."""
        return not self._pending or all(value.is_ready() for value in self._pending[-1][1].values())

    def _read(self, leave: int) -> None:
        while len(self._pending) > leave:
            step, metrics = self._pending.popleft()
            values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
            wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteError(f"{', '.join(wrong)} at step {step}", step)
            for name, value in values.items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            self._count += 1
