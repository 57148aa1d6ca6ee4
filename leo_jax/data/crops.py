"""Which part of each frame is kept: the centre, published boxes, or the face that a mask video shows."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from leo_jax import video
from leo_jax.files import PathLike
from leo_jax.video import BadVideo, VideoInfo

MASK_THRESHOLD = 5  # of the mean over a row or column of the mask's summed channels, in 0..765 (FaceForensics)
_COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height")


class Box(NamedTuple):
    """Pixels of a frame; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclasses.dataclass(frozen=True)
class BoxedClip:
    """One row of a published box file (TaichiHD's format).

    `start`, `end` and `box` are given for a video of rate `fps` and size `width` × `height`; the file at hand may have
    another rate and size. `partition` is the split, or "" where the file has no such column.
    """

    video_id: str
    start: int
    end: int
    box: Box
    fps: float
    width: int
    height: int
    partition: str

    def frames(self, info: VideoInfo) -> tuple[int, int]:
        """The first frame and the one to stop before, in the video at hand: those within the clip's time."""
        fps = Fraction(self.fps).limit_denominator(100_000)
        return info.timeline.first_at(self.start / fps), min(info.timeline.first_at(self.end / fps), info.frames)

    def scaled(self, info: VideoInfo) -> Box:
        """The box in the video at hand, within the frame. Raises BadVideo if nothing of it is."""
        x, y = info.width / self.width, info.height / self.height
        left, right = (min(max(int(edge * x), 0), info.width) for edge in (self.box.left, self.box.right))
        top, bottom = (min(max(int(edge * y), 0), info.height) for edge in (self.box.top, self.box.bottom))
        if left >= right or top >= bottom:
            listed = f"its box {'-'.join(map(str, self.box))} for frames of {self.width}x{self.height} px"
            raise BadVideo(self.video_id, f"{listed} holds nothing of its frames of {info.width}x{info.height} px")
        return Box(left, top, right, bottom)


def read_boxes(path: PathLike) -> list[BoxedClip]:
    """Reads a CSV with columns video_id, start, end, bbox (left-top-right-bottom), fps, width, height[, partition].

    Raises ValueError naming the line that does not fit, FileNotFoundError when there is no such file.
    """
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or [])]:
            raise ValueError(f"{path} has no column {missing}, it has {reader.fieldnames}")
        rows = [_row(path, number, row) for number, row in enumerate(reader, start=2)]
    if not rows:
        raise ValueError(f"{path} lists no clips")
    return rows


def centre(height: int, width: int) -> Box:
    """The largest square in the middle of the frame."""
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return Box(left, top, left + side, top + side)


def mask_square(mask: UInt8[np.ndarray, "h w 3"]) -> Box | None:
    """The square about what the mask shows, moved into the frame; None if the mask is empty.

    The shown rows and columns are those whose mean difference from the background, summed over the channels, is above
    MASK_THRESHOLD; the shorter side is padded on both ends. The background is white (FaceForensics) or black
    (FaceForensics++), whichever the frame's border is nearer to.
    """
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    shown = (255 - mask if np.median(border) > 127 else mask).sum(axis=2, dtype=np.int64)
    columns = np.flatnonzero(shown.mean(axis=0) > MASK_THRESHOLD)
    rows = np.flatnonzero(shown.mean(axis=1) > MASK_THRESHOLD)
    if not len(columns) or not len(rows):
        return None
    height, width, _ = mask.shape
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    side = int(min(max(right - left, bottom - top), height, width))
    left = int(np.clip((left + right - side) // 2, 0, width - side))
    top = int(np.clip((top + bottom - side) // 2, 0, height - side))
    return Box(left, top, left + side, top + side)


def mask_squares(masks: Iterator[UInt8[np.ndarray, "h w 3"]], name: str) -> Iterator[Box]:
    """The square of each mask frame; an empty one keeps the square before it. BadVideo if the first is empty."""
    last = None
    for mask in masks:
        last = mask_square(mask) or last
        if last is None:
            raise BadVideo(name, "the first mask frame is empty, so there is nothing to crop to")
        yield last


def find_mask(folder: PathLike, root: PathLike, relative: str) -> pathlib.Path:
    """The mask video (or folder of frames) in `folder` of the video at `relative` below `root`.

    It has the same relative path, apart from the suffix, or the one with a folder `original` called `mask`. Raises
    BadVideo when there is none.
    """
    original = pathlib.Path(root) / relative
    plain = pathlib.PurePosixPath(relative)
    if plain.suffix.lower() in video.VIDEO_SUFFIXES:
        plain = plain.with_suffix("")
    swapped = pathlib.PurePosixPath(*("mask" if part == "original" else part for part in plain.parts))
    for candidate in (swapped, plain):
        base = pathlib.Path(folder) / candidate
        for path in (base, *(base.with_name(base.name + suffix) for suffix in video.VIDEO_SUFFIXES)):
            if path.exists() and not path.samefile(original):
                return path
    raise BadVideo(relative, f"has no mask {swapped}.* in {folder}")


def cut(image: UInt8[np.ndarray, "h w 3"], box: Box, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The box's pixels, resized to a square (Lanczos, antialiased); a box that is not square is squeezed."""
    return video.resize(np.ascontiguousarray(image[box.top : box.bottom, box.left : box.right]), size, size)


def _row(path: PathLike, number: int, row: dict[str, str]) -> BoxedClip:
    try:
        box = Box(*(int(float(value)) for value in row["bbox"].split("-")))
        clip = BoxedClip(
            video_id=row["video_id"],
            start=int(row["start"]),
            end=int(row["end"]),
            box=box,
            fps=float(row["fps"]),
            width=int(row["width"]),
            height=int(row["height"]),
            partition=row.get("partition") or "",
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}, line {number}: {error}; wanted e.g. id,80,300,118-82-508-472,29.97,640,480"
        ) from error
    if not (box.left < box.right and box.top < box.bottom and 0 <= clip.start < clip.end and clip.fps > 0):
        raise ValueError(
            f"{path}, line {number}: an empty box or frame range ({row['bbox']}, {clip.start} to {clip.end})"
        )
    return clip
