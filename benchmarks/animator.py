"""Speed of the animator on this machine: one rendered frame, and one stage-1 training step.

    python benchmarks/animator.py [--size 256] [--train_size 128] [--batch 4] [--repetitions 5] [--jobs render,step]

Prints, for each job, the ratio of its time to what the rate of a 2048³ matrix product would need for its FLOPs. FLOPs are
those of the mathematical operation: no multiplied zeros count, nor anything the implementation does beside.
"""

import argparse

import jax
import jax.numpy as jnp
import measure
import numpy as np

from leo_jax import cpu
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.models.frozen.vgg19 import VGG19
from leo_jax.ops.resample import pyramid
from leo_jax.training.animator import Settings, make_task


def render_job(size: int, batch: int = 1):
    """(FLOPs a frame, job) of `batch` frames of `size` px from their codes, the source encoded before."""
    animator = Animator(size)
    image = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)), jnp.float32)
    params = jax.jit(animator.init)(jax.random.key(0), image, image)
    style, features = jax.jit(lambda p, x: animator.apply(p, x, method="encode"))(params, image)
    latent = jnp.repeat(style, batch, 0)
    decode = jax.jit(lambda p, z, f: animator.apply(p, z, f, method="decode").image)
    flops = measure.count_flops(lambda z: animator.apply(params, z, features, method="decode").image, latent)
    return flops, lambda: decode(params, latent, features)


def step_job(size: int, batch: int):
    """(FLOPs, job) of a whole stage-1 step: generator, VGG19, discriminator, both updates."""
    animator, discriminator, vgg = Animator(size), Discriminator(size), VGG19()
    images = jnp.zeros((batch, size, size, 3), jnp.float32)
    vgg_params = jax.jit(vgg.init)(jax.random.key(0), images)["params"]
    task = make_task(animator, discriminator, Settings(), vgg19=vgg_params)
    state = jax.jit(task.init)(jax.random.key(1))
    rng = np.random.default_rng(0)
    batch_ = {name: rng.integers(0, 256, images.shape, np.uint8) for name in ("source", "driving")}
    forward = lambda module, params, *args: measure.count_flops(lambda p: module.apply({"params": p}, *args), params)
    flops = (
        3 * forward(animator, state["generator"]["params"], images, images)  # forward, to inputs, to weights
        + 7 * forward(discriminator, state["discriminator"]["params"], images)  # fake: 1 + 1 + 2; real: 1 + 2
        + 3 * sum(forward(vgg, vgg_params, level) for level in pyramid(images))  # real, fake, to the fake
    )
    step = jax.jit(task.step)
    return flops, lambda: step(state, task.frozen, batch_, jax.random.key(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="px of the rendered frame")
    parser.add_argument("--train_size", type=int, default=128, help="px of the training step")
    parser.add_argument("--batch", type=int, default=4, help="pairs in the training step")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--jobs", default="render,step")
    args = parser.parse_args()
    timings = []
    if "render" in args.jobs:
        flops, job = render_job(args.size)
        timings.append(measure.against_matmul(f"render one frame, {args.size} px", flops, job, args.repetitions))
    if "step" in args.jobs:
        flops, job = step_job(args.train_size, args.batch)
        name = f"stage-1 step, {args.train_size} px, batch {args.batch}"
        timings.append(measure.against_matmul(name, flops, job, args.repetitions))
    print(measure.report(timings))


if __name__ == "__main__":
    cpu.restart()  # as the commands do
    main()
