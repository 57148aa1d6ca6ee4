"""What each metric sees: real clips against spoilt copies of themselves, under two protocols.

    python benchmarks/real_clips.py CLIPS [--out=table.md] [--size=256] [--pieces=64] [--cache=DIR]

CLIPS is a folder of videos, searched to any depth. They are cut into pieces of 64 frames, each a video of its own; the real
side is all pieces, the other side each piece's first clip, spoilt in one way. Rows:

- untouched: the very same videos;
- real against real: disjoint halves of the pieces, the floor of what can be told with so few;
- the rest: JPEG, blur, noise, time reversed, frames shuffled, a frozen frame, and another spacing of frames than stated.
"""

import argparse
import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
from scipy import ndimage

from leo_jax import files, video
from leo_jax.convert.i3d import load
from leo_jax.metrics import videos
from leo_jax.metrics.evaluate import Settings, evaluate
from leo_jax.metrics.protocols import Protocol, protocol

Frames = np.ndarray
PROTOCOLS = ("digan-taichi", "styleganv-16f")
METRICS = ("fvd", "kvd")


def pieces_of(folder: pathlib.Path, length: int, size: int) -> Iterator[tuple[str, str, Frames]]:
    """(source, name, frames) of every whole piece of the videos in `folder`, squeezed to `size` px if they differ."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in video.VIDEO_SUFFIXES):
        frames: list[Frames] = []
        source = str(path.relative_to(folder))
        for number, frame in enumerate(video.read_frames(path)):
            frames.append(video.resize(frame, size, size))
            if len(frames) == length:
                yield source, f"{source}-{number // length:03d}", np.stack(frames)
                frames = []


def jpeg(quality: int, frames: Frames) -> Frames:
    encoded = (simplejpeg.encode_jpeg(np.ascontiguousarray(f), quality=quality, colorspace="RGB") for f in frames)
    return np.stack([simplejpeg.decode_jpeg(e, "RGB") for e in encoded])


def blur(sigma: float, frames: Frames) -> Frames:
    return ndimage.gaussian_filter(frames, (0, sigma, sigma, 0))


def noise(deviation: float, frames: Frames) -> Frames:
    drawn = np.random.default_rng(frames[0, 0, 0].sum()).normal(0, deviation, frames.shape)
    return np.clip(frames + drawn, 0, 255).astype(np.uint8)


def shuffled(clip: int, step: int, frames: Frames) -> Frames:
    """The frames that the first clip is made of, in another order."""
    order = np.arange(len(frames))
    used = order[: clip * step : step]
    order[: clip * step : step] = np.random.default_rng(0).permutation(used)
    return frames[order]


def reversed_clip(clip: int, step: int, frames: Frames) -> Frames:
    """The first clip's own frames backwards, so that time alone differs."""
    return frames[: (clip - 1) * step + 1][::-1]


def ways(used: Protocol) -> dict[str, Callable[[Frames], Frames]]:
    """How copies are spoilt. All keep the spacing that the protocol asks for, but the last."""
    clip, step = used.frames, used.spacing
    other = ("every frame as if 4 apart (4x slower)", lambda f: np.repeat(f[:clip], step, axis=0))
    if used.spacing == 1:
        other = ("every 4th frame as if neighbouring (4x faster)", lambda f: f[::4])
    return {
        "untouched": lambda f: f,
        "JPEG, quality 95": functools.partial(jpeg, 95),
        "JPEG, quality 75": functools.partial(jpeg, 75),
        "blur, sigma 1 px": functools.partial(blur, 1.0),
        "blur, sigma 2 px": functools.partial(blur, 2.0),
        "noise, deviation 10 of 255": functools.partial(noise, 10.0),
        "time reversed": functools.partial(reversed_clip, clip, step),
        "frames shuffled": functools.partial(shuffled, clip, step),
        "first frame frozen": lambda f: np.repeat(f[:1], len(f), axis=0),
        other[0]: other[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pieces", type=int, default=64, help="frames of a piece")
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--bootstrap", type=int, default=100)
    arguments = parser.parse_args()

    sources, names, frames = zip(*pieces_of(arguments.clips, arguments.pieces, arguments.size), strict=True)
    print(f"{len(names)} pieces of {arguments.pieces} frames from {len(set(sources))} videos", flush=True)
    # Each piece is a source of its own for the error bars: with four videos there would be hardly anything to draw.
    real = videos.from_arrays(frames, "pieces", names=names)
    weights = {"i3d": load()}
    table: dict[str, list[str]] = {}
    heads = []
    for name in PROTOCOLS:
        used = protocol(name, resolution=128) if name.startswith("digan") else protocol(name)
        heads += [f"{used.name} {metric.upper()}" for metric in METRICS]
        settings = Settings(cache=arguments.cache, bootstrap=arguments.bootstrap, floor=10, progress=False)
        rows: dict[str, list[str]] = {}
        for way, spoil in ways(used).items():
            copies = videos.from_arrays([spoil(f) for f in frames], way, names=names)
            found = evaluate(real, copies, used, METRICS, weights, settings).result["metrics"]
            rows[way] = [cell(found[metric]["value"], found[metric]["standard_error"]) for metric in METRICS]
            if way == "untouched":
                floor = [found[metric]["floor"] for metric in METRICS]
                clips = f"{floor[0]['clips']} clips a side"
                rows[f"real against real ({clips})"] = [cell(f["mean"], f["std"]) for f in floor]
                sizes = f"{found['fvd']['clips_real']} real clips, {found['fvd']['clips_fake']} others"
            print(name, way, rows[way], flush=True)
        print(f"{name}: {sizes}", flush=True)
        for i, (way, cells) in enumerate(rows.items()):
            way = (
                "another spacing than stated" if i == len(rows) - 1 else way.split(" (")[0] if "against" in way else way
            )
            table.setdefault(way, []).extend(cells)
    lines = [f"| copies | {' | '.join(heads)} |", "|" + " --- |" * (len(heads) + 1)]
    lines += [f"| {way} | {' | '.join(cells)} |" for way, cells in table.items()]
    print("\n".join(lines))
    if arguments.out:
        files.atomic_write(arguments.out, "\n".join(lines) + "\n")


def cell(value: float, error: float) -> str:
    digits = 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    main()
