"""Reading video files and folders of frames: one frame at a time, whichever container, rate or rotation."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".m4v")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PathLike = str | os.PathLike[str]
Rate = int | float | Fraction
FOLDER_FPS = Fraction(25)  # a folder of frames does not say
_NO_STAMP = -(2**63)  # FFmpeg's own mark
_SEEK_FROM = 50  # nearer frames are reached faster by decoding up to them


class BadVideo(ValueError):
    """A video that cannot be used; `name` says which, `reason` why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@contextlib.contextmanager
def excused(left_out: list[tuple[str, str]] | None, name: str | None = None) -> Iterator[None]:
    """Puts a BadVideo of the body into `left_out` with its reason, under its own name or `name`, if there is such a list."""
    try:
        yield
    except BadVideo as error:
        if left_out is None:
            raise
        left_out.append((name or error.name, error.reason))


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video is: its average rate, number of frames, and size as shown.

    That is after turning it by `rotation` (0, 90, 180 or 270 degrees counterclockwise), as `read_frames` does.
    """

    fps: Fraction
    frames: int
    height: int
    width: int
    has_audio: bool
    rotation: int
    codec: str


def probe(path: PathLike) -> VideoInfo:
    """Reads the whole file but decodes only its first frame; the number of frames is counted, not the header's guess.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        BadVideo: it cannot be read, has no frames, or is cut short.
    """
    path = _existing(path)
    if path.is_dir():
        images = frame_files(path)
        height, width, _ = _read_image(images[0]).shape
        return VideoInfo(FOLDER_FPS, len(images), height, width, False, 0, images[0].suffix[1:].lower())
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise BadVideo(str(path), "has no frames")
        height, width = (first.width, first.height) if first.rotation % 180 else (first.height, first.width)
        return VideoInfo(
            fps=_rate(stream),
            frames=len(_timestamps(path)),
            height=height,
            width=width,
            has_audio=bool(container.streams.audio),
            rotation=first.rotation % 360,
            codec=stream.codec_context.name,
        )


def read_frames(
    path: PathLike, *, start: int = 0, end: int | None = None, fps: Rate | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames [start, end) one after the other, turned upright; only one is in memory at a time.

    Args:
        path: a file or a folder of frames.
        start: number of the first frame; the decoder jumps to the key frame before it.
        end: number of the frame to stop before; None reads on to the last.
        fps: rate to give them at: `sample_numbers` says which are taken (or repeated); None gives each once.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        BadVideo: it cannot be read, a frame is damaged, or it has no frame `start`.
    """
    path = _existing(path)
    decoded: Iterator[tuple[int, pathlib.Path | av.VideoFrame]]
    if path.is_dir():
        rate, decoded = FOLDER_FPS, iter(list(enumerate(frame_files(path)))[start:])
    else:
        rate, decoded = _decode(path, start, end)
    wanted = sample_numbers(start, end, rate, fps or rate)
    number = next(wanted, None)
    found = False
    for at, frame in decoded:
        found = True
        image = None
        while number is not None and number <= at:  # equal, except where a damaged stream lacks a number
            if image is None:
                image = _read_image(frame) if isinstance(frame, pathlib.Path) else _upright(frame)
            yield image
            number = next(wanted, None)
        if number is None:
            return
    if not found:
        raise BadVideo(str(path), f"has no frame {start}" if start else "has no frames")


def read_at(path: PathLike, numbers: Sequence[int]) -> UInt8[np.ndarray, "t h w 3"]:
    """The frames of these numbers, which must ascend, as one array. Raises as `read_frames`, also if one is missing."""
    numbers = [int(number) for number in numbers]
    if not numbers or any(a >= b for a, b in itertools.pairwise(numbers)):
        raise ValueError(f"frame numbers must ascend, got {numbers}")
    reader = zip(itertools.count(numbers[0]), read_frames(path, start=numbers[0], end=numbers[-1] + 1), strict=False)
    wanted = set(numbers)
    frames = [frame for number, frame in reader if number in wanted]
    if len(frames) < len(numbers):
        raise BadVideo(os.fspath(path), f"has no frame {numbers[len(frames)]}")
    return np.stack(frames)


def sample_numbers(start: int, end: int | None, rate: Fraction, fps: Rate) -> Iterator[int]:
    """Source frame numbers, from `start` on, that show a video of `rate` at `fps`: frame k is the one shown at k/fps."""
    step = rate / Fraction(fps).limit_denominator(100_000)
    for k in itertools.count():
        number = start + int(k * step)
        if end is not None and number >= end:
            return
        yield number


def frame_files(folder: PathLike) -> list[pathlib.Path]:
    """The image files of a folder, by the numbers in their names. Raises BadVideo if there are none."""
    found = [path for path in pathlib.Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise BadVideo(str(folder), f"no image files ({', '.join(IMAGE_SUFFIXES)}) in this folder")
    return sorted(found, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sorts frame10 after frame9."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def resize(image: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "r s 3"]:
    """Resizes with Pillow's Lanczos filter, antialiased when shrinking."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _existing(path: PathLike) -> pathlib.Path:
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no video at {path}")
    return path


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The container and its first video stream; FFmpeg's errors, here and in the body, become BadVideo."""
    if path.stat().st_size == 0:
        raise BadVideo(str(path), "the file is empty")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadVideo(str(path), "has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # many videos are read at once, one in each worker
            yield container, stream
    except (FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadVideo(str(path), f"cannot be decoded ({reason})") from error


def _rate(stream: av.VideoStream) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or FOLDER_FPS)


def _timestamps(path: pathlib.Path) -> list[int]:
    """Time stamps of all frames in the order they are shown, without decoding; _NO_STAMP each if the file lacks some.

    Raises BadVideo when the file holds less than it tells of.
    """
    with _opened(path) as (container, stream):
        # Only Matroska's header tells how long all streams together last.
        streams = () if "matroska" in container.format.name else (stream,)
        every = [packet for packet in container.demux(*streams) if packet.size]
        packets = [packet for packet in every if packet.stream_index == stream.index]
        if short := _missing(path, container, stream, every, len(packets)):
            raise BadVideo(str(path), f"is cut short or damaged: {short}")
        # Packets marked for discarding are decoded but never shown.
        stamps = [packet.pts for packet in packets if not packet.is_discard]
    known = {stamp for stamp in stamps if stamp is not None}
    return sorted(known) if len(known) == len(stamps) else [_NO_STAMP] * len(stamps)


def _missing(
    path: pathlib.Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    every: Sequence[av.Packet],
    frames: int,
) -> str:
    """What a file lacks of that which it tells of itself; "" where it lacks nothing, or tells nothing reliable."""
    if "mp4" in container.format.name:
        if frames < stream.frames:
            return f"its header tells of {stream.frames} frames, {frames} are there"
    elif "matroska" in container.format.name and container.duration:
        ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in every if p.pts is not None and p.time_base)
        told, end = container.duration / av.time_base, max(ends, default=0.0)
        if told - end > 1.5 / float(_rate(stream)) + 0.05:  # the last packet may not say how long it lasts
            return f"its header tells of {told:.2f} s, {end:.2f} s are there"
    elif container.format.name == "gif":
        return _missing_of_gif(path, frames)
    return ""


def _missing_of_gif(path: pathlib.Path, frames: int) -> str:
    """FFmpeg and Pillow give what they can of a damaged file; so its blocks are gone through, from header to end mark."""
    content = path.read_bytes()
    try:
        told = _images_of_gif(content)
    except (IndexError, ValueError) as error:
        return f"no whole GIF ({error})"
    # FFmpeg takes frames without a duration for one.
    return f"{told} frames are there, {frames} can be read: save it again, with a duration" if told != frames else ""


def _images_of_gif(content: bytes) -> int:
    """How many images its blocks hold (GIF89a, section 12 on). IndexError if it ends before, ValueError at no block."""
    table = lambda flags: 3 << (flags & 7) + 1 if flags & 0x80 else 0
    at, images = 13 + table(content[10]), 0
    while (block := content[at]) != 0x3B:
        if block not in (0x21, 0x2C):
            raise ValueError(f"no block begins at byte {at}")
        # An extension's label; an image's place and size, its own colours, and the code size.
        at += 2 if block == 0x21 else 10 + table(content[at + 9]) + 1
        images += block == 0x2C
        while size := content[at]:
            at += size + 1
        at += 1
    return images


def _decode(path: pathlib.Path, start: int, end: int | None) -> tuple[Fraction, Iterator[tuple[int, av.VideoFrame]]]:
    """The rate, and (number, frame) from frame `start` on. Raises BadVideo as `read_frames` does."""
    stamps = _timestamps(path) if start or end is not None else []
    if start and start >= len(stamps):
        raise BadVideo(str(path), f"has {len(stamps)} frames, no frame {start}")
    with _opened(path) as (_, stream):
        rate = _rate(stream)
    return rate, _numbered(path, start, stamps)


def _numbered(path: pathlib.Path, start: int, stamps: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) from `start` on: the number by its time stamp, or counted if there are none."""
    numbers: dict[int | None, int] = {stamp: n for n, stamp in enumerate(stamps) if stamp != _NO_STAMP}
    for seek in (start >= _SEEK_FROM and bool(numbers), False):
        with _opened(path) as (container, stream):
            if seek:
                container.seek(stamps[start], stream=stream)
            found = ((numbers.get(f.pts, count), f) for count, f in enumerate(container.decode(stream)))
            number, frame = next(found, (-1, None))
            if seek and not 0 <= number <= start:
                continue  # the key frame found is too late (open group of pictures): begin at the beginning
            for at, shown in itertools.chain([(number, frame)] if frame else [], found):
                if at >= start:
                    if shown.is_corrupt:
                        raise BadVideo(str(path), f"frame {at} is damaged")
                    yield at, shown
            return


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    image = frame.reformat(format="rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def _read_image(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise BadVideo(str(path), "is not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
