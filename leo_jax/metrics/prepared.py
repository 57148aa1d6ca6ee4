"""One side of an evaluation from a prepared data set: its records, joined to the videos that they were cut from."""

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from leo_jax.data import manifest, records, source
from leo_jax.files import PathLike
from leo_jax.metrics.video_set import Frames, Video, VideoSet
from leo_jax.video import BadVideo


def open_prepared(path: PathLike, content: manifest.Manifest, split: str | None, stride: int | None) -> VideoSet:
    """The videos of a prepared data set; those of one source are one group."""
    splits = sorted(content.splits)
    if split is None and len(splits) > 1:
        raise ValueError(
            f"{path} has the splits {splits}: say which, as in --real_split=train (the paper's experiments use train)"
        )
    split = split or splits[0]
    opened = source.open_split(path, split)
    options = content.splits[split].options
    if stride is None and options.get("fps"):
        raise ValueError(
            f"{path} was prepared at {options['fps']:g} frames a second, whatever its videos had: say how many source "
            "frames apart its frames are to be taken for, as in --real_stride=1"
        )
    # `leo prepare` cuts long videos into records; the protocols speak of videos. Boxes cut clips that may touch, though.
    joined = "crop" in options and not options["crop"].startswith("boxes:")
    by_video: dict[str, list[_Piece]] = {}
    for i in range(len(opened)):
        record = records.decode(opened[i])
        piece = _Piece(
            record.start, record.end, i, len(record.frames), record.id, record.source, record.height, record.width,
            "png" if record.frames[0].startswith(b"\x89PNG") else "jpeg", bool(record.extras),
        )  # fmt: skip
        by_video.setdefault(record.source if joined else record.id, []).append(piece)
    videos = [_of_pieces(opened, sorted(pieces)) for pieces in by_video.values()]
    digest = hashlib.sha256("\n".join(shard.sha256 for shard in content.splits[split].shards).encode()).hexdigest()
    videos.sort(key=lambda v: v.name)
    return VideoSet(f"{path} ({split})", tuple(videos), stride or 1, digest)


class _Piece(NamedTuple):
    """What is to be known of a record: its range in the source, its number, frames, and so on."""

    start: int
    end: int
    number: int
    frames: int
    id: str
    source: str
    height: int
    width: int
    storage: str
    truth: bool


def _of_pieces(opened: source.TFRecordSource, pieces: Sequence[_Piece]) -> Video:
    """One video of consecutive records."""
    first, last = pieces[0], pieces[-1]
    name = first.id if len(pieces) == 1 else f"{first.source}#{first.start:06d}-{last.end:06d}"
    begins = np.cumsum([0, *(piece.frames for piece in pieces)]).tolist()

    def read(indices: Sequence[int]) -> Frames:
        places = [(bisect.bisect_right(begins, t) - 1, t) for t in indices]
        try:
            return np.stack([records.decode_frame(opened.frame(pieces[k].number, t - begins[k])) for k, t in places])
        except ValueError as error:
            raise BadVideo(name, str(error)) from error

    def truth() -> Mapping[str, np.ndarray]:
        return records.decode(opened[first.number]).extras

    storage = "+".join(sorted({piece.storage for piece in pieces}))
    known = truth if len(pieces) == 1 and first.truth else None
    return Video(name, begins[-1], first.height, first.width, storage, first.source, read, known)
