"""Writing frames as H.264, GIF or a folder of PNGs, with the sound of another video."""

import contextlib
import itertools
import os
import pathlib
import uuid
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image

from leo_jax.video.reading import PathLike
from leo_jax.video.timing import Rate

_H264_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
_CRF = 18  # x264's quality: no loss is visible
_COPIED_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac")  # an mp4 with these plays everywhere; others become AAC
_AAC_RATE = 48_000


def partial_path(path: PathLike) -> pathlib.Path:
    """What the video `path` is called when its writing was cut off: NAME.partial.SUFFIX; a folder keeps its name."""
    path = pathlib.Path(path)
    return path.with_suffix(f".partial{path.suffix}") if path.suffix else path


class VideoWriter:
    """Writes frames to a file or folder; a context manager.

    The suffix of `path` decides: .mp4, .m4v, .mov and .mkv are H.264 (yuv420p, BT.709, index at the front: plays
    everywhere; odd sizes get a repeated last row or column), .gif a GIF, none a folder of 000000.png and so on.

    A file takes its name when it is complete. If the body raises, or is interrupted, what was written so far is closed
    properly and stays as NAME.partial.SUFFIX until a whole one is written; an older file at `path` is untouched.
    """

    def __init__(self, path: PathLike, fps: Rate, audio_from: PathLike | None = None):
        """`audio_from` is a video whose sound is put under the frames (H.264 files only; ignored if it has none).

        Raises:
            ValueError: the suffix is unknown, the rate is not positive, a file's name is a folder's or the other way round, or
                the folder holds something already.
        """
        self.path = pathlib.Path(path)
        self.fps = Fraction(fps).limit_denominator(10_000)
        self.audio_from = audio_from
        suffix = self.path.suffix.lower()
        if suffix not in (*_H264_SUFFIXES, ".gif", ""):
            raise ValueError(f"{path}: cannot write {suffix}; take one of {', '.join(_H264_SUFFIXES)}, .gif, or a folder "
                             "(no suffix)")  # fmt: skip
        if self.fps <= 0:
            raise ValueError(f"{path}: {fps} frames a second; it must be above 0")
        if suffix and self.path.is_dir():
            raise ValueError(f"{path} is a folder, no {suffix} file can be written there: give another name")
        if not suffix and self.path.is_file():
            raise ValueError(f"{path} is a file, no folder of frames can be written there: give another name")
        if not suffix and self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(f"{path} is a folder with files in it: empty it, or give another")

    def __enter__(self) -> "VideoWriter":
        self.count = 0
        self._shape: tuple[int, ...] | None = None
        self._sink: _Folder | _Gif | _H264 | None = None
        self._temporary = self.path.with_name(f".{self.path.stem}.{uuid.uuid4().hex[:8]}.tmp{self.path.suffix}")
        (self.path.parent if self.path.suffix else self.path).mkdir(parents=True, exist_ok=True)
        return self

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame; all must have the first one's size. Raises ValueError otherwise, or where H.264 has no such size."""
        if self._sink is None:
            self._shape, self._sink = frame.shape, self._open(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"{self.path}: frame {self.count} is {frame.shape}, the first was {self._shape}")
        self._sink.write(frame, self.count)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        try:
            if self._sink is not None:
                self._sink.close()
                if self.path.suffix:
                    target = self.path if kind is None else partial_path(self.path)
                    os.replace(self._temporary, target)
                    if kind is None:
                        partial_path(self.path).unlink(missing_ok=True)
        finally:
            if self.path.suffix:
                self._temporary.unlink(missing_ok=True)
        if kind is None and self._sink is None:
            raise ValueError(f"{self.path}: no frames to write")

    def _open(self, shape: tuple[int, ...]) -> "_Folder | _Gif | _H264":
        if not self.path.suffix:
            return _Folder(self.path)
        if self.path.suffix.lower() == ".gif":
            return _Gif(self._temporary, self.fps)
        return _H264(self._temporary, self.fps, shape[0], shape[1], self.audio_from)


class _Folder:
    def __init__(self, path: pathlib.Path):
        self.path = path

    def write(self, frame: np.ndarray, number: int) -> None:
        Image.fromarray(frame).save(self.path / f"{number:06d}.png")

    def close(self) -> None:
        """Every frame is a file already."""


class _Gif:
    """Keeps frames with 256 colours each, and writes them at the end. At most 50 frames a second: viewers slow others."""

    def __init__(self, path: pathlib.Path, fps: Fraction):
        self.path, self.fps = path, fps
        self.images: list[Image.Image] = []
        self.times: list[int] = []  # when each is shown, in 1/100 s: their rounding does not add up

    def write(self, frame: np.ndarray, number: int) -> None:
        time = round(number * 100 / self.fps)
        if not self.times or time - self.times[-1] >= 2:
            self.images.append(Image.fromarray(frame).quantize(256))
            self.times.append(time)
        self.end = max(round((number + 1) * 100 / self.fps), self.times[-1] + 2)

    def close(self) -> None:
        durations = [10 * (b - a) for a, b in itertools.pairwise([*self.times, self.end])]
        first, *others = self.images
        first.save(self.path, save_all=True, append_images=others, duration=durations, loop=0)


class _H264:
    def __init__(self, path: pathlib.Path, fps: Fraction, height: int, width: int, audio_from: PathLike | None):
        self.closing = contextlib.ExitStack()
        movflags = {} if path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
        self.container = self.closing.enter_context(av.open(str(path), "w", options=movflags))
        self.padding = (height % 2, width % 2)
        self.stream = self.container.add_stream("libx264", rate=fps, options={"crf": str(_CRF)})
        self.stream.height, self.stream.width = height + height % 2, width + width % 2
        self.stream.pix_fmt = "yuv420p"
        context = self.stream.codec_context
        context.time_base = 1 / fps
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # of television
        try:
            context.open(strict=False)
        except FFmpegError as error:
            self.closing.close()
            raise ValueError(
                f"H.264 cannot hold frames of {width}x{height} px: make them smaller, or less long "
                "(--crop takes the centre square of a photo)"
            ) from error
        self.fps = fps
        self.audio = self._open_audio(audio_from)
        self.waiting = next(self.audio, None)

    def write(self, image: np.ndarray, number: int) -> None:
        if any(self.padding):
            image = np.pad(image, ((0, self.padding[0]), (0, self.padding[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", src_colorspace="itu709", dst_colorspace="itu709")
        frame.pts, frame.time_base = number, 1 / self.fps
        self.container.mux(self.stream.encode(frame))
        self._mux_audio_until((number + 1) / self.fps)

    def close(self) -> None:
        with self.closing:
            self.container.mux(self.stream.encode(None))

    def _mux_audio_until(self, time: Fraction) -> None:
        """Adds the sound up to `time` in seconds: the file is interleaved, and sound ends with the frames."""
        while self.waiting is not None and (self.waiting.pts or 0) * self.waiting.time_base < time:
            self.container.mux(self.waiting)
            self.waiting = next(self.audio, None)

    def _open_audio(self, path: PathLike | None) -> Iterator[av.Packet]:
        """The packets of a video's sound, copied, or encoded as AAC where a player might not know them."""
        if path is None or pathlib.Path(path).is_dir():
            return iter(())
        source = self.closing.enter_context(av.open(os.fspath(path)))
        if not source.streams.audio:
            return iter(())
        sound = source.streams.audio[0]
        if sound.codec_context.name in _COPIED_AUDIO:
            copy = self.container.add_stream_from_template(sound)
            return _copied(source.demux(sound), copy)
        encoder = self.container.add_stream("aac", rate=_AAC_RATE)
        encoder.codec_context.layout = "mono" if sound.codec_context.channels == 1 else "stereo"
        return _encoded(source.decode(sound), encoder)


def _copied(packets: Iterator[av.Packet], stream: av.AudioStream) -> Iterator[av.Packet]:
    for packet in packets:
        if packet.dts is not None:
            packet.stream = stream
            yield packet


def _encoded(frames: Iterator[av.AudioFrame], stream: av.AudioStream) -> Iterator[av.Packet]:
    resampler = av.AudioResampler("fltp", stream.codec_context.layout, stream.codec_context.sample_rate)
    for frame in itertools.chain(frames, [None]):
        for converted in resampler.resample(frame):
            yield from stream.encode(converted)
    yield from stream.encode(None)
