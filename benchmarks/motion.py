"""Speed of the motion model's U-Net on this machine: sampling at batch 1 and 64, and a training step at batch 64.

    python benchmarks/motion.py [--repetitions 7] [--steps 5] [--jobs sample,step] [--batches 1,64]

The network is the full one: 44 356 756 parameters, 64 codes of 20. Each job's time is divided by the time that the rate of a
2048³ matrix product would need for its FLOPs or, where that is larger (batch 1), by the time to read all weights once a
step, as a matrix-vector product of their size does. Both are measured beside each repetition, so that what else runs here slows
both. FLOPs are those of the mathematical operations; a training step's are three times its forward pass's, and its optimiser
(Adam and an EMA) counts for nothing.

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
import optax

from leo_jax import diffusion, hugepages
from leo_jax.models.unet import UNet

LENGTH, CODE = 64, 20
SCHEDULE = diffusion.linear_schedule()


@dataclasses.dataclass(frozen=True)
class Job:
    """What is timed: `passes` is how often the weights are read at the least."""

    name: str
    flops: float
    passes: int
    run: object


def forward_flops(module, params, batch):
    """Of one forward pass; attention's two batched products are counted too."""
    x, t = jnp.zeros((batch, LENGTH, CODE)), jnp.zeros(batch, jnp.int32)
    flops = measure.count_flops(lambda x: module.apply({"params": params}, x, t), x)
    for level, multiplier in enumerate(module.multipliers):
        blocks = (2 * module.num_blocks + 1) * (2**level in module.attention)
        blocks += level == len(module.multipliers) - 1  # the middle one
        flops += blocks * 4 * batch * (LENGTH // 2**level) ** 2 * multiplier * module.width
    return flops


def sample_job(module, params, batch, steps):
    keys = jax.random.split(jax.random.key(0), batch)

    @jax.jit
    def sample(params, keys):
        return diffusion.sample(
            SCHEDULE, lambda x, t: module.apply({"params": params}, x, t), keys, (LENGTH, CODE), steps=steps
        )

    flops = steps * forward_flops(module, params, batch)
    return Job(f"sample, batch {batch}, {steps} DDIM steps", flops, steps, lambda: sample(params, keys))


def step_job(module, params, batch):
    x0 = jax.random.normal(jax.random.key(0), (batch, LENGTH, CODE))
    optimiser = optax.adam(1e-4)

    def loss(params, key):
        t, noise = diffusion.draw(SCHEDULE, key, x0.shape)
        return diffusion.epsilon_loss(
            SCHEDULE, lambda x, t: module.apply({"params": params}, x, t), x0, t, noise
        ).mean()

    @jax.jit
    def step(state, key):
        params, moments, ema = state
        updates, moments = optimiser.update(jax.grad(loss)(params, key), moments)
        params = optax.apply_updates(params, updates)
        return params, moments, jax.tree.map(lambda e, p: 0.9999 * e + 0.0001 * p, ema, params)

    step = jax.jit(step, donate_argnums=0)
    state = [jax.tree.map(jnp.copy, (params, optimiser.init(params), params))]

    def run():
        state[0] = step(state[0], jax.random.key(1))
        return state[0]

    return Job(f"training step, batch {batch}", 3 * forward_flops(module, params, batch), 3, run)


def streaming(parameters):
    """What reads as many float32 as the network has parameters, once: a matrix-vector product."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((parameters // 4096, 4096)), jnp.float32)
    vector = jnp.ones(4096, jnp.float32)
    product = jax.jit(lambda a, v: a @ v)
    return lambda: product(matrix, vector)


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
        rows.append((taken, multiplied * job.flops / (2 * measure.SIDE**3), read * job.passes))
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

    module = UNet(out_channels=CODE)
    x, t = jnp.zeros((1, LENGTH, CODE)), jnp.zeros(1, jnp.int32)
    params = jax.jit(module.init)(jax.random.key(0), x, t)["params"]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    product, stream = square(), streaming(parameters)
    print(
        f"{parameters} parameters; {'job':21} {'GFLOP':>8} {'seconds':>9} {'at matmul':>10} {'streamed':>9} "
        f"{'ratio min':>10} {'median':>7} {'max':>7} {'CPU ratio':>9}"
    )
    if "sample" in args.jobs:
        for batch in batches:
            print(
                time_job(sample_job(module, params, batch, args.steps), product, stream, args.repetitions), flush=True
            )
    if "step" in args.jobs:
        print(time_job(step_job(module, params, batches[-1]), product, stream, args.repetitions), flush=True)


if __name__ == "__main__":
    hugepages.restart()  # as the commands do
    main()
