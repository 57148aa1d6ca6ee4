"""Motion codes on disk, and the examples that the denoisers learn from.

A video's codes are a record (`records.VideoRecord`) of height 1 and width d whose frames are not pictures but codes, float32
little-endian: the shards, index, checksums and random access of video serve them too. Frame n of a split's codes is the
code of frame n of the split's video, counted over all records.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64

from leo_jax.data import augment, records
from leo_jax.data.pipeline import Spec
from leo_jax.data.source import TFRecordSource

DTYPE = np.dtype("<f4")


def encode(codes: Float[np.ndarray, "t d"]) -> tuple[bytes, ...]:
    """Codes as the frames of a record."""
    return tuple(code.tobytes() for code in codes.astype(DTYPE))


def decode(frames: Sequence[bytes]) -> Float[np.ndarray, "t d"]:
    """The inverse of `encode`."""
    return np.frombuffer(b"".join(frames), DTYPE).reshape(len(frames), -1).astype(np.float32)


def joined(pieces: Iterable[records.VideoRecord]) -> Iterator[records.VideoRecord]:
    """Records with those of one clip, which `leo prepare` cuts when it is long, put together again."""
    held: records.VideoRecord | None = None
    for piece in pieces:
        which, count = piece.extras.get(records.CHUNK, (0, 1))
        if which:
            if held is None or held.source != piece.source:
                raise ValueError(f"record {piece.id} is piece {which} of {count}, and the one before it is missing")
            name = f"{held.source}#{held.start:06d}-{piece.end:06d}"
            held = dataclasses.replace(held, id=name, end=piece.end, frames=(*held.frames, *piece.frames))
        else:
            if held is not None:
                yield held
            held = piece
    if held is not None:
        yield held


@dataclasses.dataclass(frozen=True)
class Window:
    """`length` codes of one video, `stride` frames apart, from a uniformly random start: {'codes': (length, d)}.

    Videos that are too short are left out; `dropped` counts them. With `videos`, the split the codes were made of, there
    is also the picture of the first one: {'images': (size, size, 3)}, bytes.

    Raises ValueError if no video is long enough.
    """

    source: TFRecordSource
    length: int
    code_dim: int
    stride: int = 1
    videos: TFRecordSource | None = None
    size: int = 0

    def __post_init__(self) -> None:
        if not len(self):
            longest = int(self.source.frame_counts.max(initial=0))
            raise ValueError(
                f"no video has the {self.span} frames that {self.length} codes at data.stride = {self.stride} span, the "
                f"longest has {longest}: lower the stage's length or data.stride, or prepare longer clips"
            )
        if self.videos is not None:
            _check_same_frames(self.videos, self.source)

    @property
    def span(self) -> int:
        """Frames from the first code to the last, both included."""
        return (self.length - 1) * self.stride + 1

    @functools.cached_property
    def kept(self) -> Int64[np.ndarray, " k"]:
        """The records that are long enough."""
        return np.flatnonzero(self.source.frame_counts >= self.span)

    @property
    def dropped(self) -> int:
        """How many are not."""
        return len(self.source) - len(self)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def arrays(self) -> Mapping[str, Spec]:
        """The codes, and the first one's picture if videos are given."""
        picture = {"images": Spec((self.size, self.size, 3))} if self.videos is not None else {}
        return {"codes": Spec((self.length, self.code_dim), np.float32), **picture}

    def fill(self, i: int, dice: Float[np.ndarray, "8"], out: Mapping[str, np.ndarray]) -> None:
        """Draws a window of the i-th video that is long enough; only its codes are read."""
        record = int(self.kept[i])
        start = int(dice[0] * (self.source.frame_counts[record] - self.span + 1))
        out["codes"][:] = decode(self.source.frames(record, start, self.span)[:: self.stride])
        if self.videos is not None:
            _picture(self.videos, int(self.source.first_frames[record]) + start, out["images"])


@dataclasses.dataclass(frozen=True)
class Single:
    """One code, every frame of the split being as likely as any other: {'codes': (d,)}; with `videos`, its picture too.

    {'images': (size, size, 3)}, bytes, is the frame that the code was made of.
    """

    source: TFRecordSource
    code_dim: int
    videos: TFRecordSource | None = None
    size: int = 0

    def __post_init__(self) -> None:
        if not len(self):
            raise ValueError("the split has no codes")
        if self.videos is not None:
            _check_same_frames(self.videos, self.source)

    def __len__(self) -> int:
        return int(self.source.first_frames[-1])

    @property
    def arrays(self) -> Mapping[str, Spec]:
        """The code, and its picture if videos are given."""
        picture = {"images": Spec((self.size, self.size, 3))} if self.videos is not None else {}
        return {"codes": Spec((self.code_dim,), np.float32), **picture}

    def fill(self, i: int, dice: Float[np.ndarray, "8"], out: Mapping[str, np.ndarray]) -> None:
        """Reads frame i of the split."""
        out["codes"][:] = decode([self.source.frame(*self.source.place(i))])[0]
        if self.videos is not None:
            _picture(self.videos, i, out["images"])


def _picture(videos: TFRecordSource, n: int, out: np.ndarray) -> None:
    augment.decode(videos.frame(*videos.place(n)), out)


def _check_same_frames(videos: TFRecordSource, source: TFRecordSource) -> None:
    frames, number = int(videos.first_frames[-1]), int(source.first_frames[-1])
    if frames != number:
        raise ValueError(f"{number} codes do not belong to {frames} frames: make the codes again (stage 'codes')")
