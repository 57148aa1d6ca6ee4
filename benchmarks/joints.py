"""Whether an animator draws limbs where the driving frame has them: puppets' joints, whose places are known.

    python benchmarks/joints.py --models puppets runs/mine --people 24

Held-out puppets are drawn from their first frame and their own codes. Printed for each model and joint, left and right together:

- moves: how far it lies from its mean over the video, in px of the model's images (mean);
- missed: how far from a linear function of the code, fitted to all the videos, both less their means: what the codes tell of it;
- arrived: how often it came to a pixel that the person did not cover in the first frame and that looks different now;
- drawn: in what share of these the pixel is nearer to the driving frame's than to the first frame's.

Beside them, L1 in the moving region (both silhouettes) over that of copying the first frame, and the share drawn of all pixels
that the person newly covers.
"""

import argparse
import collections
import dataclasses

import numpy as np

import leo_jax
from leo_jax.api import Model
from leo_jax.data.puppets import HELD_OUT, JOINT_NAMES, PRESETS, PuppetVideo, render
from leo_jax.progress import progress_bar
from leo_jax.sampling.render import as_images

FIRST = HELD_OUT + 6000  # people whom neither training nor its measurements see
DIFFERENT = 0.3  # summed over colours in [-1, 1]: a pixel that looks different
KINDS = tuple(name.split("_")[-1] for name in JOINT_NAMES)  # of each joint, left and right together


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What one video tells: its codes and joints in px, and for every pixel whether it counts and is drawn."""

    codes: np.ndarray
    joints: np.ndarray
    arrived: np.ndarray
    drawn: np.ndarray
    error: float
    copied: float


def draw(model: Model, video: PuppetVideo) -> Drawn:
    codes = model.codes(video.frames)
    fake, true = model.render(video.frames[0], codes), as_images(video.frames, model.size)
    apart = lambda a, b: np.abs(a - b).sum(-1)
    error, copied = apart(fake, true), apart(true[:1], true)
    moving = video.silhouette | video.silhouette[:1]
    return Drawn(
        codes=codes,
        joints=video.joints * model.size,
        arrived=video.silhouette & ~video.silhouette[:1] & (copied > DIFFERENT),
        drawn=error < apart(fake, true[:1]),
        error=float(error[moving].sum()),
        copied=float(copied[moving].sum()),
    )


def joints_of(videos: list[Drawn]) -> dict[str, tuple[float, float, int, float]]:
    """By kind of joint: moves and missed in px, arrived, and the share drawn."""
    centred = lambda parts: np.concatenate([part - part.mean(0) for part in parts])
    codes, places = (centred([getattr(v, name) for v in videos]) for name in ("codes", "joints"))
    flat = places.reshape(len(places), -1)
    told = codes @ np.linalg.lstsq(codes, flat, rcond=None)[0]
    moves, missed = (np.linalg.norm(x.reshape(places.shape), axis=-1).mean(0) for x in (flat, flat - told))
    hits = collections.defaultdict(list)
    for video in videos:
        size = video.drawn.shape[-1]
        column, row = np.floor(video.joints).astype(int).transpose(2, 0, 1)
        inside = (0 <= column) & (column < size) & (0 <= row) & (row < size)
        for frame, joint in np.argwhere(inside):
            place = frame, row[frame, joint], column[frame, joint]
            if video.arrived[place]:
                hits[KINDS[joint]].append(video.drawn[place])
    found = {}
    for kind in dict.fromkeys(KINDS):
        same, seen = np.equal(KINDS, kind), hits[kind]
        found[kind] = (moves[same].mean(), missed[same].mean(), len(seen), np.mean(seen) if seen else np.nan)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["puppets"], help="folders, or names of shipped models")
    parser.add_argument("--people", type=int, default=24, help="held-out videos")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--preset", default="easy", choices=sorted(PRESETS), help="of the puppets")
    args = parser.parse_args()
    for name in args.models:
        model, videos = leo_jax.load(name), []
        with progress_bar(args.people, name, "video") as bar:
            for i in range(args.people):
                puppet = render(0, FIRST + i, frames=args.frames, size=model.size, preset=args.preset)
                videos.append(draw(model, puppet))
                bar.update()
        ratio = sum(v.error for v in videos) / sum(v.copied for v in videos)
        share = np.mean(np.concatenate([v.drawn[v.arrived] for v in videos]))
        print(f"\n{name}: moving region {ratio:.3f} of copying; {100 * share:.0f} % of newly covered pixels drawn\n")
        print("| joint | moves, px | missed, px | arrived | drawn, % |\n| --- | --- | --- | --- | --- |")
        for kind, (moves, missed, arrived, drawn) in joints_of(videos).items():
            print(f"| {kind} | {moves:.2f} | {missed:.2f} | {arrived} | {100 * drawn:.0f} |")


if __name__ == "__main__":
    main()
