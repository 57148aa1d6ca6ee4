"""Reading video files and folders of frames: one frame at a time, whichever container, rate or rotation."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image, ImageOps

from leo_jax.video.timing import NO_STAMP, Rate, Timeline

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".m4v")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PathLike = str | os.PathLike[str]
FOLDER_FPS = Fraction(25)  # a folder of frames does not say
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
    """What a video is: its average rate, number of frames, size as shown, and when each frame is shown.

    That size is after making its pixels square and turning it by `rotation` (0, 90, 180 or 270 degrees counterclockwise),
    as `read_frames` does.
    """

    fps: Fraction
    frames: int
    height: int
    width: int
    has_audio: bool
    rotation: int
    codec: str
    timeline: Timeline


def probe(path: PathLike) -> VideoInfo:
    """Reads the whole file but decodes only its first frame; the number of frames is counted, not the header's guess.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        BadVideo: it cannot be read, has no frames, or is cut short.
    """
    path = _existing(path)
    if path.is_dir():
        images, timeline = frame_files(path), _timeline(path)
        height, width, _ = _read_image(images[0]).shape
        return VideoInfo(FOLDER_FPS, len(images), height, width, False, 0, images[0].suffix[1:].lower(), timeline)
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise BadVideo(str(path), "has no frames")
        timeline = _timeline(path)
        height, width = first.height, _square_width(first.width, stream)
        if first.rotation % 180:
            height, width = width, height
        return VideoInfo(
            fps=timeline.rate,
            frames=len(timeline.stamps),
            height=height,
            width=width,
            has_audio=bool(container.streams.audio),
            rotation=first.rotation % 360,
            codec=stream.codec_context.name,
            timeline=timeline,
        )


def read_frames(
    path: PathLike, *, start: int = 0, end: int | None = None, fps: Rate | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames [start, end) one after the other, upright and of square pixels; only one is in memory at a time.

    Args:
        path: a file or a folder of frames.
        start: number of the first frame; the decoder jumps to the key frame before it.
        end: number of the frame to stop before; None reads on to the last.
        fps: rate to give them at: `Timeline.numbers` says which are taken (or repeated); None gives each once.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        BadVideo: it cannot be read, a frame is damaged, or it has no frame `start`.
    """
    path = _existing(path)
    if not start and end is None and fps is None:
        yield from _shown(path, itertools.count(), 0, [])
        return
    timeline = _timeline(path)
    if start and start >= len(timeline.stamps):
        raise BadVideo(str(path), f"has {len(timeline.stamps)} frames, no frame {start}")
    yield from _shown(path, iter(timeline.numbers(start, end, fps)), start, timeline.stamps)


def read_numbers(path: PathLike, numbers: Sequence[int], timeline: Timeline) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of these numbers, which must not descend but may repeat, one at a time. Raises as `read_frames`.

    `timeline` is the video's own, as `probe` found it.
    """
    if numbers:
        yield from _shown(_existing(path), iter(numbers), numbers[0], timeline.stamps)


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


def _square_width(width: int, stream: av.VideoStream) -> int:
    """The width, in square pixels, of frames stored `width` wide."""
    return max(round(width * (stream.sample_aspect_ratio or 1)), 1)


def _timeline(path: pathlib.Path) -> Timeline:
    """When each frame is shown, found without decoding.

    Raises BadVideo when the file holds less than it tells of.
    """
    if path.is_dir():
        return Timeline(range(len(frame_files(path))), 1 / FOLDER_FPS, 1, FOLDER_FPS)
    with _opened(path) as (container, stream):
        # Only Matroska's header tells how long all streams together last.
        streams = () if "matroska" in container.format.name else (stream,)
        every = [packet for packet in container.demux(*streams) if packet.size]
        packets = [packet for packet in every if packet.stream_index == stream.index]
        if short := _missing(path, container, stream, every, len(packets)):
            raise BadVideo(str(path), f"is cut short or damaged: {short}")
        rate, tick = _rate(stream), Fraction(stream.time_base or 1 / _rate(stream))
        # Packets marked for discarding are decoded but never shown.
        lengths = {packet.pts: packet.duration for packet in packets if not packet.is_discard}
        frames = sum(not packet.is_discard for packet in packets)
    if None in lengths or len(lengths) < frames:
        return Timeline([NO_STAMP] * frames, tick, 0, rate)
    stamps = sorted(stamp for stamp in lengths if stamp is not None)
    return Timeline(stamps, tick, (lengths[stamps[-1]] if stamps else 0) or round(1 / (rate * tick)), rate)


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


def _shown(
    path: pathlib.Path, numbers: Iterator[int], start: int, stamps: Sequence[int]
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames of these numbers, the first being `start`. Raises BadVideo as `read_frames` does."""
    decoded: Iterator[tuple[int, Callable[[], UInt8[np.ndarray, "h w 3"]]]]
    if path.is_dir():
        files = frame_files(path)[start:]
        decoded = ((start + k, functools.partial(_read_image, file)) for k, file in enumerate(files))
    else:
        decoded = _numbered(path, start, stamps)
    number, found = next(numbers, None), False
    for at, image_of in decoded:
        found = True
        image = None
        while number is not None and number <= at:  # equal, except where a damaged stream lacks a number
            image = image_of() if image is None else image
            yield image
            number = next(numbers, None)
        if number is None:
            return
    if not found:
        raise BadVideo(str(path), f"has no frame {start}" if start else "has no frames")


def _numbered(
    path: pathlib.Path, start: int, stamps: Sequence[int]
) -> Iterator[tuple[int, Callable[[], UInt8[np.ndarray, "h w 3"]]]]:
    """(number, what gives its image) from `start` on: the number by its time stamp, or counted if there are none."""
    numbers: dict[int | None, int] = {stamp: n for n, stamp in enumerate(stamps) if stamp != NO_STAMP}
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
                    yield at, functools.partial(_upright, shown, _square_width(shown.width, stream))
            return


def _upright(frame: av.VideoFrame, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A decoded frame as RGB, stretched to `width` and turned as it is shown."""
    image = resize(frame.reformat(format="rgb24", threads=1).to_ndarray(), frame.height, width)
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def _read_image(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    if path.stat().st_size and (clear := _transparent(path)) is not None:
        return clear
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise BadVideo(str(path.parent), f"{path.name} is not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _transparent(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"] | None:
    """An image file with transparency, on white; None for one without, or that Pillow cannot read."""
    try:
        with Image.open(path) as file:
            return on_white(ImageOps.exif_transpose(file)) if file.has_transparency_data else None
    except (OSError, SyntaxError, ValueError):
        return None


def on_white(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of an image, what is transparent showing white."""
    image = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
