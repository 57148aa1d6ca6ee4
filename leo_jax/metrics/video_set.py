"""What the two sides of an evaluation are: videos that are not read yet, wherever they lie or are made."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Real

LOSSLESS = ("raw", "png", "bmp", "ppm", "tif", "tiff", "ffv1", "rawvideo", "huffyuv", "qtrle")

Frames = Real[np.ndarray, "t h w 3"]


@dataclasses.dataclass(frozen=True)
class Video:
    """One video, not read yet.

    Attributes:
      name: what errors and results call it; unique in its set.
      length: number of frames.
      height: of its frames, px.
      width: of its frames, px.
      storage: what the frames are kept as: "png", "jpeg", "h264", "raw", …
      group: videos cut from one source share it; error bars draw groups.
      read: frames by their numbers, ascending: uint8, or floats on the 0–255 scale. Raises BadVideo.
      truth: the named arrays that a prepared record carries (a puppet's ground truth), for videos that have any.
      fps: frames a second, as its file says; None where nothing says it.
    """

    name: str
    length: int
    height: int
    width: int
    storage: str
    group: str
    read: Callable[[Sequence[int]], Frames]
    truth: Callable[[], Mapping[str, np.ndarray]] | None = None
    fps: float | None = None

    @property
    def size(self) -> str:
        """Of its frames, "HxW"."""
        return f"{self.height}x{self.width}"

    @property
    def lossless(self) -> bool:
        """Whether the stored frames are the exact ones."""
        return self.storage in LOSSLESS


@dataclasses.dataclass(frozen=True)
class VideoSet:
    """One side of an evaluation.

    Attributes:
      where: path or description.
      videos: sorted by name, as plain text: protocols that take the first 2048 mean that order.
      stride: source frames from one stored frame to the next.
      fingerprint: hash of the content.
      value_range: what the values were taken for.
      skipped: (name, reason) of the videos left out.
      made: how a model made them; None for stored ones.
    """

    where: str
    videos: tuple[Video, ...]
    stride: int
    fingerprint: str
    value_range: str = "0–255 (uint8)"
    skipped: tuple[tuple[str, str], ...] = ()
    made: Mapping[str, Any] | None = None

    @property
    def lengths(self) -> list[int]:
        """Frames of each video."""
        return [v.length for v in self.videos]

    @property
    def sizes(self) -> list[str]:
        """The frame sizes found, as "HxW"."""
        return sorted({v.size for v in self.videos})

    @property
    def storages(self) -> list[str]:
        """What frames are kept as."""
        return sorted({v.storage for v in self.videos})

    @property
    def rates(self) -> list[float]:
        """Frames a second, of those videos whose files say so."""
        return sorted({round(v.fps, 2) for v in self.videos if v.fps is not None})
