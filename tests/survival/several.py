"""One of several processes of a small run over real shards; how the others are found stands in the environment.

    python -m tests.survival.several train WORKDIR DATA STEPS SECONDS    # SECONDS a step
    python -m tests.survival.several wait SECONDS                        # the first process works, the others wait
    python -m tests.survival.several look WORKDIR own|one                # a folder of its own for each, or one for all

Training writes the numbers of the videos in each batch to WORKDIR/order-COUNT-INDEX, a line a step.
"""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.data import pipeline
from leo_jax.data.source import open_split
from leo_jax.experiment.settings import ConfigError, alone, check_shared, together
from leo_jax.main import join_others
from leo_jax.training.loop import fit
from leo_jax.training.state import Task, make_mesh, to_host

SIZE = 16


def init(key):
    params = {"kernel": jax.random.normal(key, (64, 64), jnp.float32)}  # large enough to be cut
    return {"params": params, "momentum": jax.tree.map(jnp.zeros_like, params)}


def step(state, frozen, batch, key):
    def loss(params):
        seen = [batch[name][:, ::2, ::2, 0].reshape(-1, 64).astype(jnp.float32) / 255 for name in ("source", "driving")]
        noise = 0.1 * jax.random.normal(key, seen[1].shape, jnp.float32)
        return jnp.mean((seen[0] @ params["kernel"] - seen[1] - noise) ** 2)

    value, gradient = jax.value_and_grad(loss)(state["params"])
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, state["momentum"], gradient)
    params = jax.tree.map(lambda p, m: p - 0.01 * m, state["params"], momentum)
    return {"params": params, "momentum": momentum}, {"loss": value}


class Noted(pipeline.Batches):
    """Batches whose order is written down; they take their time."""

    def __next__(self):
        time.sleep(self.seconds)
        batch = super().__next__()
        with open(self.path, "a") as file:
            file.write(" ".join(str(number) for number in batch["source"][:, 0, 0, 0]) + "\n")
        return batch


def train(workdir, data, steps, seconds):
    """Trains over a mesh whose 'fsdp' axis is two devices wide, where there are as many."""
    workdir = pathlib.Path(workdir)
    place = jax.process_index(), jax.process_count()
    batches = pipeline.pairs(
        open_split(data, "train"),
        batch_size=8,
        seed=3,
        size=SIZE,
        process_index=place[0],
        process_count=place[1],
        threads=1,
    )
    batches.__class__ = Noted
    batches.seconds, batches.path = float(seconds), workdir / f"order-{place[1]}-{place[0]}"
    task = Task("several", init, step)
    mesh = make_mesh(fsdp=min(jax.device_count(), 2))
    options = {"log_every": 1, "picture_every": 0, "checkpoint_every": 5, "seed": 3, "mesh": mesh}
    state = fit(task, batches, workdir=workdir, steps=int(steps), **options)
    kernel = to_host(state)["params"]["kernel"]
    np.save(workdir / f"kernel-{place[0]}.npy", kernel)
    batches.close()


def wait(seconds):
    def work():
        print("working", flush=True)
        for _ in range(int(seconds) * 20):
            time.sleep(0.05)
        print("worked to the end", flush=True)

    print("there", flush=True)
    alone(work)
    together("the end of it")
    print("nobody was told to stop", flush=True)


def look(workdir, whose):
    folder = pathlib.Path(workdir) / (str(jax.process_index()) if whose == "own" else "")
    folder.mkdir(exist_ok=True)
    try:
        check_shared(folder)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    together("all have looked")
    print("one folder", sorted(path.name for path in folder.glob(".*")), flush=True)


def main(mode, *arguments):
    with join_others():
        {"train": train, "wait": wait, "look": look}[mode](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
