"""What one conditional video costs on this machine, from the photo to the mp4, and what longer ones cost.

    python benchmarks/sample.py [--size 256] [--frames 64] [--steps 50] [--further 126] [--repetitions 1]

The networks have their full size and random weights (time does not depend on their values): the animator of `--size` px, and the
44 M-parameter motion model on 64 codes of 20. The split is measured part by part, each compiled before; the whole job by
itself, first with everything that a first call has to do (opening files, compiling), then again. The cost of 1000 further
frames is that of `--further` frames after the first 64, scaled.
"""

import argparse
import pathlib
import statistics
import tempfile

import jax
import measure
import numpy as np
import PIL.Image

import leo_jax
from leo_jax import api, cpu, denoisers, video, weights
from leo_jax.models.animator import Animator
from leo_jax.models.unet import UNet
from leo_jax.sampling import command
from leo_jax.sampling.images import to_bytes


def random_tree(shapes, scale):
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: scale * random.standard_normal(leaf.shape, np.float32), shapes)


def write_model(folder, size):
    """A model directory with an animator and a motion model of full size."""
    animator = Animator(size=size)
    sizes = {"size": size, "width": 1.0, "code_dim": animator.code_dim}
    weights.save_model(
        folder / "animator", {"animator": sizes}, {"animator": random_tree(api.shapes_of(animator), 1.0)}
    )
    motion = denoisers.Motion(UNet(out_channels=animator.code_dim))
    params = random_tree(weights.shapes_of(motion.module, *denoisers.inputs_of(motion)), 0.02)
    one = np.ones(animator.code_dim, np.float32)
    weights.save_tree(folder / "motion" / "statistics.npz", {"mean": 0 * one, "std": 0.01 * one})
    about = {"motion": denoisers.describe(motion), "stride": 1, "fps": 25.0}
    weights.save_model(folder / "motion", about, {"motion": params})


def write(path, frames):
    with video.VideoWriter(path, 25) as writer:
        for frame in frames:
            writer.write(to_bytes(frame))


def timed(function, repetitions):
    return statistics.median(measure.seconds(function) for _ in range(repetitions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--further", type=int, default=126, help="frames after the first; 63 a segment")
    parser.add_argument("--repetitions", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_model(folder, args.size)
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        photo, out = folder / "photo.png", folder / "out.mp4"
        PIL.Image.fromarray(noise).resize((args.size, args.size), PIL.Image.Resampling.BICUBIC).save(photo)
        run(args, folder, photo, out)


def run(args, folder, photo, out) -> None:
    loaded = []

    def job(frames=args.frames):
        leo = loaded[0]
        command.sample(leo.renderer, leo.sampler, out, image=[photo], frames=frames, steps=args.steps, progress=False)

    def first():
        loaded.append(leo_jax.load(folder))
        job()

    cold = measure.seconds(first)
    leo, image = loaded[0], np.asarray(PIL.Image.open(photo))
    source, start = leo.renderer.encode(image), leo.codes(image)
    codes = leo.sampler.sample(start, frames=args.frames, steps=args.steps)[0]
    frames = np.concatenate([image[None] / np.float32(127.5) - 1, *leo.renderer.draw(source, [codes[1:]])])
    further = (
        (lambda: leo.sampler.sample(start, frames=args.frames + args.further, steps=args.steps))
        if args.further
        else None
    )
    parts = {
        "encode": lambda: (leo.renderer.encode(image), leo.codes(image)),
        "motion": lambda: leo.sampler.sample(start, frames=args.frames, steps=args.steps),
        "render": lambda: list(leo.renderer.draw(source, [codes[1:]])),
        "write": lambda: write(out, frames),
    }
    seconds = {name: timed(part, args.repetitions) for name, part in parts.items()}
    total = timed(job, args.repetitions)
    rate = measure.matmul()
    print(
        f"{args.frames} frames of {args.size} px, {args.steps} DDIM steps, {jax.device_count()} {jax.default_backend()} "
        f"device(s), matmul {rate() / 1e9:.0f} GFLOP/s"
    )
    for name, taken in seconds.items():
        print(f"{name:8} {taken:8.2f} s  {taken / sum(seconds.values()):4.0%}")
    print(
        f"{'sum':8} {sum(seconds.values()):8.2f} s\n"
        f"whole job, photo to mp4: {total:.2f} s; the first one, with loading and compiling: {cold:.2f} s"
    )
    if further is not None:
        motion = timed(further, args.repetitions) - seconds["motion"]
        frame = (seconds["render"] + seconds["write"]) / (args.frames - 1)
        print(
            f"1000 further frames: {1000 * (motion / args.further + frame):.1f} s, of them motion "
            f"{1000 * motion / args.further:.1f} s (measured on {args.further} further frames' motion and {args.frames} "
            "frames' rendering and writing)"
        )


if __name__ == "__main__":
    cpu.restart()  # as the commands do
    main()
