"""What motion models have learnt, on puppets, where the truth can be drawn without end.

    python benchmarks/motion_study.py --models runs/a runs/b runs/c --without_lmc runs/d runs/e runs/f --out study.json

Models of one animator that differ in their training seed (and, in the second list, in the Linear Motion Condition). True
motion is that of held-out puppets, told by the animator's codes. Printed for each group: mean and standard deviation over its
models. "real" compares two halves of the held-out people: what a perfect model would reach with as many samples.

Measures (leo_jax/metrics/codes.py): Fréchet distances of windows of codes, of their velocities, and of start codes, all
standardised; diversity of sequences from one start code; and for long sequences the largest autocorrelation beyond lag 64,
with and without the Transition DM, with the share of sequences where it is over 0.8, and how far the mean of the last 64 codes
lies from that of the first 64.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

import numpy as np

import leo_jax
from leo_jax import files
from leo_jax.api import Model
from leo_jax.data.puppets.video import HELD_OUT, render
from leo_jax.metrics import codes as measures
from leo_jax.progress import progress_bar

REPEATS = 0.8  # autocorrelation that is called a repetition
FAR = 1 << 20  # held-out people from here on move in the long videos


def true_codes(model: Model, first: int, people: int, frames: int, preset: str) -> list[np.ndarray]:
    """Codes (frames, d) of held-out puppets."""
    found = []
    with progress_bar(people, f"codes of {frames} frames", "video") as bar:
        for i in range(people):
            video = render(0, HELD_OUT + first + i, frames=frames, size=model.size, preset=preset)
            found.append(model.codes(video.frames))
            bar.update()
    return found


def standardised(sequences: Sequence[np.ndarray], mean: np.ndarray, std: np.ndarray) -> list[np.ndarray]:
    return [(s - mean) / std for s in sequences]


def over_time(sequences: Sequence[np.ndarray]) -> dict[str, float]:
    values = [measures.repetition(s) for s in sequences]
    found = {"autocorrelation": float(np.mean(values)), "repeating": float(np.mean(np.asarray(values) > REPEATS))}
    return found | {"drift": float(measures.drift(np.stack(sequences))[-1])}


def of_real(real: list[np.ndarray], other: list[np.ndarray], long: list[np.ndarray]) -> dict[str, float]:
    """The floor: one half of the true motion against the other."""
    found = measures.distances(real, other)
    return found | {f"{name}, {len(long[0])} frames": value for name, value in over_time(long).items()}


def of_model(model: Model, real: list[np.ndarray], scale: tuple, args: argparse.Namespace) -> dict[str, float]:
    """All measures of one model; those that need a stage it lacks are left out."""
    draw = lambda **choices: model.sample_codes(steps=args.steps, seed=args.seed, **choices)
    starts = np.stack([s[0] for s in real]) if model.sampler.lmc else None
    fake = standardised(draw(start=starts, frames=args.frames, num=len(real)), *scale)
    target = standardised(real, *scale)
    found = measures.distances(target, fake)
    if starts is not None:
        del found["codes/start"]  # they were given
        several = draw(start=starts[0], frames=args.frames, num=16)
        found["diversity from one start"] = measures.diversity(np.stack(standardised(several, *scale)))
    if "start" in model.stages:
        drawn = model.sampler.start_codes(len(real), steps=args.steps, seed=args.seed)
        first = [s[:1] for s in standardised(real, *scale)]
        pair = [np.concatenate(side) for side in (first, standardised(drawn[:, None], *scale))]
        found["codes/start"] = measures.frechet_distance(*pair)
    if starts is not None:
        for name, transition in (("", False), (", transitions", True)):
            if transition and not {"transition", "start"} <= model.stages:
                continue
            long = draw(start=starts[: args.long], frames=args.long_frames, num=args.long, transition=transition)
            told = over_time(standardised(long, *scale))
            found |= {f"{key}, {args.long_frames} frames{name}": value for key, value in told.items()}
    return found


def table(groups: dict[str, list[dict[str, float]]]) -> str:
    """A row a measure, a column a group: mean ± standard deviation over its models."""
    names = list(dict.fromkeys(name for rows in groups.values() for row in rows for name in row))
    lines = ["| measure | " + " | ".join(f"{g} ({len(rows)})" for g, rows in groups.items()) + " |"]
    lines.append("| --- |" + " --- |" * len(groups))
    for name in names:
        cells = []
        for rows in groups.values():
            values = [row[name] for row in rows if name in row]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", required=True, type=pathlib.Path, help="with the Linear Motion Condition"
    )
    parser.add_argument("--without_lmc", nargs="*", default=[], type=pathlib.Path)
    parser.add_argument("--people", type=int, default=256, help="held-out videos on each side")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--long", type=int, default=32, help="long sequences")
    parser.add_argument("--long_frames", type=int, default=512)
    parser.add_argument("--preset", default="easy", help="of the puppets, as the animator knows them")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help=".json of every number")
    args = parser.parse_args()

    first = leo_jax.load(args.models[0])
    real = true_codes(first, 0, args.people, args.frames, args.preset)
    other = true_codes(first, args.people, args.people, args.frames, args.preset)
    long = true_codes(first, FAR, args.long, args.long_frames, args.preset)
    everything = np.concatenate([*real, *other])
    scale = everything.mean(0), everything.std(0)
    groups = {"real": [of_real(*(standardised(side, *scale) for side in (real, other, long)))]}
    for name, folders in (("with LMC", args.models), ("without LMC", args.without_lmc)):
        rows = []
        for folder in folders:
            rows.append(of_model(leo_jax.load(folder), real, scale, args))
            print(f"{folder}: {rows[-1]}", flush=True)
        if rows:
            groups[name] = rows
    print(table(groups))
    if args.out:
        files.atomic_write(
            args.out, json.dumps({"groups": groups, "arguments": vars(args)}, indent=1, default=str) + "\n"
        )


if __name__ == "__main__":
    main()
