"""How far a long job is: a live bar on a terminal, and a line now and then where the output is kept in a file."""

import datetime
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

SECONDS = 10.0  # from one line to the next where the output is no terminal


@runtime_checkable
class Bar(Protocol):
    """What both kinds can do, and no more."""

    def update(self, n: int = 1) -> Any:
        """Counts `n` more as done."""

    def __enter__(self) -> Any:
        """The bar itself."""

    def __exit__(self, *exception: Any) -> Any:
        """Shows the last state."""


def progress_bar(
    total: int | None, what: str, unit: str, *, initial: int = 0, shown: bool = True, stream: Any = None
) -> Bar:
    """A bar to be used as a context, and told of what is done by `update`.

    Args:
      total: how many there are; None if that is not known.
      what: is done.
      unit: of which thing, in the singular.
      initial: how many are done already.
      shown: whether anything is printed.
      stream: where; standard error if not given. No terminal gets plain lines, at most one in SECONDS, and one at the end.
    """
    stream = sys.stderr if stream is None else stream
    if shown and not stream.isatty():
        return Lines(total, what, unit, initial=initial, stream=stream)
    return tqdm(total=total, desc=what, unit=unit, initial=initial, disable=not shown, file=stream)


class Lines:
    """Progress as lines of a log: `what: done/total unit (percent), rate, time left`."""

    def __init__(
        self, total: int | None, what: str, unit: str, *, initial: int = 0, stream: Any,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self._total, self._what, self._unit, self._stream, self._clock = total, what, unit, stream, clock
        self._initial = self._done = initial
        self._began = self._last = clock()
        self._printed: int | None = None

    def update(self, n: int = 1) -> None:
        """Counts `n` more as done; prints if SECONDS have passed since the last line."""
        self._done += n
        if self._clock() - self._last >= SECONDS:
            self._print()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._printed != self._done:
            self._print()

    def _print(self) -> None:
        self._last, self._printed = self._clock(), self._done
        seconds, done = self._last - self._began, self._done - self._initial
        known = f"/{self._total}" if self._total is not None else ""
        text = f"{self._what}: {self._done}{known} {self._unit}"
        if self._total:
            text += f" ({self._done / self._total:.0%})"
        text += f", {datetime.timedelta(seconds=round(seconds))} so far"
        if done and seconds:
            rate = done / seconds
            text += f", {rate:.3g} {self._unit}/s"
            if self._total is not None and self._done < self._total:
                text += f", {datetime.timedelta(seconds=round((self._total - self._done) / rate))} left"
        print(text, file=self._stream, flush=True)
