"""When the frames of a video are shown, and which of them show it at another rate."""

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

Rate = int | float | Fraction
NO_STAMP = -(2**63)  # FFmpeg's own mark
_JITTER = Fraction(1, 4)  # of a frame: GIF's hundredths of a second tremble by 0.2 at 40 frames a second
_DRIFT = Fraction(1, 100)  # between the rate that a file tells and its stamps
_ROUNDING = Fraction(1, 1000)  # s; Matroska's stamps are whole milliseconds


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The time stamps of a video's frames in the order they are shown.

    Attributes:
        stamps: of each frame, in ticks, ascending; NO_STAMP each where the file lacks some.
        tick: in seconds.
        last: how long the last frame is shown, in ticks.
        told: the average rate that the file tells of.
    """

    stamps: Sequence[int]
    tick: Fraction
    last: int
    told: Fraction

    @functools.cached_property
    def even(self) -> bool:
        """Whether each frame is shown as long as the others, at the rate told."""
        if len(self.stamps) < 2 or self.stamps[0] == NO_STAMP:
            return True
        first, spacing = self.stamps[0], self._spacing
        steady = all(abs(stamp - first - k * spacing) <= _JITTER * spacing for k, stamp in enumerate(self.stamps))
        return steady and abs(spacing * self.tick * self.told - 1) <= _DRIFT

    @property
    def rate(self) -> Fraction:
        """Frames a second: the rate told, or where the stamps disagree, their average up to the last frame."""
        return self.told if self.even else 1 / (self._spacing * self.tick).limit_denominator(100_000)

    def numbers(self, start: int, end: int | None, fps: Rate | None) -> list[int]:
        """Numbers of the frames that show [start, end) at `fps`, the k-th being the one shown k/fps after frame `start`.

        None gives each once, as does the own rate where the frames are shown equally long.
        """
        end = len(self.stamps) if end is None else min(end, len(self.stamps))
        if fps is None or (self.even and fps == self.rate) or start >= end:
            return list(range(start, end))
        if self.even:
            return list(sample_numbers(start, end, self.rate, fps))
        # At the own rate, frames that tremble about their places are neither repeated nor left out.
        slack = _JITTER / self.rate if fps == self.rate else _ROUNDING
        stop = self.stamps[end] if end < len(self.stamps) else self.stamps[-1] + self.last
        length = (stop - self.stamps[start]) * self.tick - slack
        step = 1 / Fraction(fps).limit_denominator(100_000)
        times = (self.stamps[start] + (k * step + slack) / self.tick for k in range(max(math.ceil(length / step), 1)))
        return [bisect.bisect_right(self.stamps, time) - 1 for time in times]

    def first_at(self, time: Fraction) -> int:
        """Number of the first frame shown from `time`, in seconds after frame 0, on."""
        if self.even:
            return math.ceil(time * self.rate)
        return bisect.bisect_left(self.stamps, self.stamps[0] + (time - _ROUNDING) / self.tick)

    @property
    def _spacing(self) -> Fraction:
        return Fraction(self.stamps[-1] - self.stamps[0], len(self.stamps) - 1)


def sample_numbers(start: int, end: int | None, rate: Fraction, fps: Rate) -> Iterator[int]:
    """Frame numbers, from `start` on, that show a video of the constant `rate` at `fps`: the k-th is shown k/fps later."""
    step = rate / Fraction(fps).limit_denominator(100_000)
    for k in itertools.count():
        number = start + int(k * step)
        if end is not None and number >= end:
            return
        yield number
