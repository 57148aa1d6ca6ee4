"""What each metric sees: real clips against spoilt copies, under two protocols.

    python benchmarks/real_clips.py CLIPS [--out=table.md] [--size=256] [--pieces=64] [--cache=DIR]

CLIPS is a folder of videos, searched to any depth. They are cut into pieces of 64 frames, each a video of its own. Clips are
taken as the protocol says: of the real side all, of the copies the first of each piece. Two questions are asked:

- the same pieces: spoilt copies against the very videos that they were made of. What is seen, is the spoiling alone;
- other pieces: copies of one half of the pieces against the other half, as with a model, whose videos are never the real
  ones; mean and deviation over ten ways to halve. Its first row, nothing spoilt, is the floor: real against real.
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
from leo_jax.metrics import uncertainty, videos
from leo_jax.metrics.clips import fake_clips, real_clips
from leo_jax.metrics.features import Features, I3DNetwork, extract
from leo_jax.metrics.kernel import kernel_distance
from leo_jax.metrics.protocols import Protocol, protocol

Frames = np.ndarray
PROTOCOLS = ("digan-taichi", "styleganv-16f")


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
        "none spoilt": lambda f: f,
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


def halves(count: int, draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the pieces in each half."""
    random = np.random.default_rng(0)
    for _ in range(draws):
        order = random.permutation(count)
        yield order[: count // 2], order[count // 2 : 2 * (count // 2)]


def measure(used: Protocol, real: Features, copies: Features, draws: int) -> list[str]:
    """FVD of the same pieces; FVD and KVD of other pieces."""
    cells = [f"{uncertainty.estimate(real.values, copies.values, used.ddof):.1f}"]
    found: dict[str, list[float]] = {"fvd": [], "kvd": []}
    for first, second in halves(len(copies.values), draws):
        # One clip a piece on both sides, so that neither protocol has more to fit its real side to.
        x = real.values[[np.flatnonzero(real.groups == piece)[0] for piece in first]]
        y = copies.values[second]
        found["fvd"].append(uncertainty.estimate(x, y, used.ddof))
        found["kvd"].append(kernel_distance(x, y))
    return [*cells, *(f"{np.mean(v):.1f} ± {np.std(v):.1f}" for v in found.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pieces", type=int, default=64, help="frames of a piece")
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--draws", type=int, default=10, help="ways to halve the pieces")
    arguments = parser.parse_args()

    sources, names, frames = zip(*pieces_of(arguments.clips, arguments.pieces, arguments.size), strict=True)
    print(f"{len(names)} pieces of {arguments.pieces} frames from {len(set(sources))} videos", flush=True)
    params, table, heads = load(), {}, []
    for name in PROTOCOLS:
        used = protocol(name)
        network = I3DNetwork(params, used)

        def features(arrays, what, clips_of, used=used, network=network):
            found = videos.from_arrays(arrays, what, names=names)
            return extract(found, clips_of(found.lengths, used), used, network, cache=arguments.cache)

        real = features(frames, "pieces", real_clips)
        heads += [f"{name}: FVD, the same pieces", "FVD, other pieces", "KVD, other pieces"]
        for i, (way, spoil) in enumerate(ways(used).items()):
            copies = features([spoil(f) for f in frames], way, fake_clips)
            cells = measure(used, real, copies, arguments.draws)
            table.setdefault(way if i + 1 < len(ways(used)) else "another spacing than stated", []).extend(cells)
            print(f"{name} ({len(real.values)} real clips, {len(copies.values)} others), {way}: {cells}", flush=True)
    lines = [f"| copies | {' | '.join(heads)} |", "|" + " --- |" * (len(heads) + 1)]
    lines += [f"| {way} | {' | '.join(cells)} |" for way, cells in table.items()]
    print("\n".join(lines))
    if arguments.out:
        files.atomic_write(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
