"""Speed of the motion model on this machine: sampling at batch 1 and 64, and a training step at batch 64.

    python benchmarks/motion.py [--repetitions 7] [--steps 5] [--jobs sample,step] [--batches 1,64]

The network is the full one: 44 356 756 parameters, 64 codes of 20. Each job's time is divided by the time that the rate of a
2048³ matrix product would need for its FLOPs or, where that is larger (batch 1), by the time to read all weights once a
step, as a matrix-vector product of their size does: the mean of ten in a row, since a first one may find the other core asleep.
Both are measured beside each repetition, so that what else runs here slows both.

FLOPs are those of the mathematical operations; a training step's are three times its forward pass's, and its optimiser (Adam
and an EMA) counts for nothing.

The last column is the median ratio of CPU seconds instead of seconds: on a machine with other work it is the one that repeats. It
does not tell whether the cores work at the same time.
"""

import argparse
import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import measure
import numpy as np

from leo_jax import cpu
from leo_jax.denoisers import Motion, Sampling, Statistics
from leo_jax.models.unet import UNet
from leo_jax.training import denoising

LENGTH, CODE = 64, 20
READS = 10  # of all weights, in a row


@dataclasses.dataclass(frozen=True)
class Job:
    """What is timed: `passes` is how often the weights are read at the least."""

    name: str
    flops: float
    passes: int
    run: object


def full_model():
    """The motion model of full size and random parameters for it."""
    denoiser = Motion(UNet(out_channels=CODE))
    x, t = jnp.zeros((1, LENGTH, CODE)), jnp.zeros(1, jnp.int32)
    return denoiser, jax.jit(denoiser.module.init)(jax.random.key(0), x, t)["params"]


def forward_flops(module, params, batch):
    """Of one forward pass; attention's two batched products are counted too."""
    x, t = jnp.zeros((batch, LENGTH, CODE)), jnp.zeros(batch, jnp.int32)
    flops = measure.count_flops(lambda x: module.apply({"params": params}, x, t), x)
    for level, multiplier in enumerate(module.multipliers):
        blocks = (2 * module.num_blocks + 1) * (2**level in module.attention)
        blocks += level == len(module.multipliers) - 1  # the middle one
        flops += blocks * 4 * batch * (LENGTH // 2**level) ** 2 * multiplier * module.width
    return flops


def sample_job(denoiser, params, batch, steps):
    """Sequences from their first codes, as `leo sample` draws them."""
    keys = jax.random.split(jax.random.key(0), batch)
    start = jax.random.normal(jax.random.key(1), (batch, CODE))
    sample = jax.jit(lambda params, keys, start: denoiser.sample(params, keys, start, sampling=Sampling(steps)))
    flops = steps * forward_flops(denoiser.module, params, batch)
    return Job(f"sample, batch {batch}, {steps} DDIM steps", flops, steps, lambda: sample(params, keys, start))


def step_job(denoiser, params, batch):
    """A step of the task that training runs."""
    task = denoising.make_task(denoiser, Statistics(np.zeros(CODE), np.ones(CODE)), denoising.Settings())
    codes = jax.random.normal(jax.random.key(0), (batch, LENGTH, CODE))
    step = jax.jit(task.step, donate_argnums=0)
    state = [jax.jit(task.init)(jax.random.key(0))]

    def run():
        state[0], _ = step(state[0], task.frozen, {"codes": codes}, jax.random.key(1))
        return state[0]

    return Job(f"training step, batch {batch}", 3 * forward_flops(denoiser.module, params, batch), 3, run)


def streaming(parameters):
    """What reads as many float32 as the network has parameters, READS times: matrix-vector products."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((parameters // 4096, 4096)), jnp.float32)
    vector = jnp.ones(4096, jnp.float32)
    product = jax.jit(lambda a, v: a @ v)
    return lambda: [jax.block_until_ready(product(matrix, vector)) for _ in range(READS)]


def square():
    """A 2048³ matrix product."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((measure.SIDE, measure.SIDE)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return lambda: product(matrix)


def clocks(function):
    """(seconds, this process's CPU seconds) that `function` takes."""
    cpu = time.process_time()
    wall = measure.seconds(function)
    return np.asarray((wall, time.process_time() - cpu))


def time_job(job, product, stream, repetitions):
    """A table row: the job's seconds, the bound's, their ratio over the repetitions, and the same ratio of CPU seconds."""
    for function in (job.run, product, stream):
        jax.block_until_ready(function())
    rows = []
    for _ in range(repetitions):
        before = clocks(product), clocks(stream)
        taken = clocks(job.run)
        after = clocks(product), clocks(stream)
        multiplied, read = (np.asarray(before) + np.asarray(after)) / 2
        rows.append((taken, multiplied * job.flops / (2 * measure.SIDE**3), read / READS * job.passes))
    taken, compute, read = (
        statistics.median(column) for column in zip(*([part[0] for part in row] for row in rows), strict=True)
    )
    ratios, cpu = ([t[i] / max(c[i], r[i]) for t, c, r in rows] for i in (0, 1))
    return (
        f"{job.name:36} {job.flops / 1e9:8.1f} {taken:9.3f} {compute:10.3f} {read:9.3f} "
        f"{min(ratios):10.2f} {statistics.median(ratios):7.2f} {max(ratios):7.2f} {statistics.median(cpu):9.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="DDIM steps in a timed sampling")
    parser.add_argument("--jobs", default="sample,step")
    parser.add_argument("--batches", default="1,64", help="of sampling; a training step takes the last")
    args = parser.parse_args()
    batches = [int(batch) for batch in args.batches.split(",")]

    denoiser, params = full_model()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    product, stream = square(), streaming(parameters)
    print(
        f"{parameters} parameters; {'job':21} {'GFLOP':>8} {'seconds':>9} {'at matmul':>10} {'streamed':>9} "
        f"{'ratio min':>10} {'median':>7} {'max':>7} {'CPU ratio':>9}"
    )
    if "sample" in args.jobs:
        for batch in batches:
            job = sample_job(denoiser, params, batch, args.steps)
            print(time_job(job, product, stream, args.repetitions), flush=True)
    if "step" in args.jobs:
        print(time_job(step_job(denoiser, params, batches[-1]), product, stream, args.repetitions), flush=True)


if __name__ == "__main__":
    cpu.restart()  # as the commands do
    main()
