"""What huge memory pages, and Eigen's convolutions and products, bring on a CPU: one job with each setting, in turn.

    python benchmarks/cpu.py [--rounds 3] [--job step] [--size 64] [--width 0.125] [--batch 16]
    python benchmarks/cpu.py --job sample

`step` is a training step of a small animator, `sample` ten DDIM steps of one sequence by the full motion model.

Each round starts a process for each setting one after the other, so that what else runs here slows all; the table gives the
medians over the rounds, and how many times quicker than plain, round by round.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import motion
import numpy as np

from leo_jax import cpu
from leo_jax.models.animator import Animator
from leo_jax.training.animator import Settings, make_task

REPETITIONS = 8


def step_job(size: int, width: float, batch: int) -> Callable[[], object]:
    """A training step of the animator (pyramid L1, no discriminator)."""
    settings = Settings(perceptual="pyramid_l1", perceptual_weight=1.0, adversarial_weight=0.0, ema_decay=0.998)
    task = make_task(Animator(size=size, width=width), None, settings)
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (batch, size, size, 3), np.uint8) for name in ("source", "driving")}
    key = jax.random.key(0)
    state = [jax.jit(task.init)(key)]
    step = jax.jit(task.step, donate_argnums=0)

    def run() -> object:
        state[0], metrics = step(state[0], {}, images, key)
        return state[0], metrics

    return run


def sample_job() -> Callable[[], object]:
    """Ten DDIM steps of one sequence, by the full motion model."""
    denoiser, params = motion.full_model()
    return motion.sample_job(denoiser, params, 1, 10).run


def measure(run: Callable[[], object]) -> dict[str, float]:
    """Median seconds of a run, and seconds of system time in it."""
    taken, system = [], []
    for _ in range(REPETITIONS + 1):
        before, start = os.times(), time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
        system.append(os.times().system - before.system)
    return {"seconds": statistics.median(taken[1:]), "system": statistics.median(system[1:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", choices=("step", "sample"), default="step")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        run = sample_job() if args.job == "sample" else step_job(args.size, args.width, args.batch)
        print(json.dumps(measure(run)))
        return
    plain = {k: v for k, v in os.environ.items() if k not in (*cpu.PAGES, "XLA_FLAGS")}
    huge = {**plain, **cpu.PAGES}
    settings = {
        "plain": plain,
        "huge pages": huge,
        "and Eigen's kernels": huge | cpu.by_eigen(huge, importlib.metadata.version("jaxlib")),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in settings}
    for _ in range(args.rounds):
        for name, environment in settings.items():
            command = [sys.executable, *sys.argv, "--measure"]
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name].append(json.loads(output))
    print(f"{args.job:30} {'seconds':>9} {'in the kernel':>14}  times quicker")
    for name, rows in found.items():
        seconds, system = (statistics.median(row[key] for row in rows) for key in ("seconds", "system"))
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(found["plain"], rows, strict=True)]
        print(
            f"{name:30} {seconds:9.3f} {system:14.3f}  {statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
