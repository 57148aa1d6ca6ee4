"""Tiny videos whose every frame can be told from the others after lossy coding."""

import pathlib
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

_BLOCK = 8
_SOUNDS = {"pcm_s16le": ("s16", 44100), "aac": ("fltp", 44100), "libopus": ("s16", 48000)}
_CODECS = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".gif": "gif"}


def clip(frames: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames that carry their number as black and white blocks along the top, over a drifting gradient."""
    made = []
    x = np.linspace(0, 1, width)[None, :, None] * np.array([120, 60, 90])
    for t in range(frames):
        image = np.broadcast_to(60 + x + 20 * np.sin(t / 10), (height, width, 3)).copy()
        for bit in range(8):
            image[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = 235 if t >> bit & 1 else 20
        made.append(image.astype(np.uint8))
    return made


def clip_number(frame: np.ndarray) -> int:
    """The number that `clip` wrote into a frame."""
    bits = [frame[1 : _BLOCK - 1, bit * _BLOCK + 1 : (bit + 1) * _BLOCK - 1].mean() > 128 for bit in range(8)]
    return sum(int(on) << bit for bit, on in enumerate(bits))


def encode(
    path: pathlib.Path,
    frames: Sequence[np.ndarray],
    *,
    fps: Fraction | int = 25,
    codec: str | None = None,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    sound: str | None = None,
    faststart: bool = False,
    stamps: Sequence[int] | None = None,
    pixels: Fraction | None = None,
) -> pathlib.Path:
    """Writes a video with PyAV alone (not with the code under test), and a 440 Hz tone as its sound if asked for.

    `stamps` are the times of the frames in ms, if they are not even; `pixels` is width over height of a pixel.
    """
    codec = codec or _CODECS.get(path.suffix, "libx264")
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if codec == "libx264" and not options:
            stream.options = {"g": "24", "bf": "3"}
        if codec == "mpeg4":
            stream.codec_context.bit_rate = 2_000_000
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        if pixels:
            stream.codec_context.sample_aspect_ratio = pixels
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = add_tone(container, sound, len(frames) / float(fps)) if sound else iter(())
        next(sounds, None)  # makes its stream before anything is written
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = (stamps[number], Fraction(1, 1000)) if stamps else (number, 1 / Fraction(fps))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for _ in sounds:
            pass
    return path


def add_tone(container, codec: str, seconds: float):
    """Adds a 440 Hz tone; yields once when its stream is there."""
    sample_format, rate = _SOUNDS[codec]
    stream = container.add_stream(codec, rate=rate)
    stream.codec_context.layout = "mono"
    yield
    count = int(seconds * rate)
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)
    for at in range(0, count, 960):
        part = wave[None, at : at + 960]
        part = (part * 32000).astype(np.int16) if sample_format == "s16" else part.astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=sample_format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
