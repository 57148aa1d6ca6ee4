"""A small task and input for the loop's tests, and a program that trains them in a process of its own."""

import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.main import join_others
from leo_jax.processes import ADDRESS, COUNT, INDEX
from leo_jax.training.loop import fit
from leo_jax.training.state import Task, make_mesh

DIM = 3


class ToyBatches:
    """Batches of x and y = x·[1, 2, 3], functions of the position; `local` is (process, processes)."""

    def __init__(self, batch_size=8, local=(0, 1), spoiled=None):
        self.batch_size, self.local, self.spoiled, self.position = batch_size, local, spoiled, 0

    def __next__(self):
        x = np.random.default_rng(self.position).normal(size=(self.batch_size, DIM)).astype(np.float32)
        if self.position == self.spoiled:
            x[0, 0] = np.nan
        self.position += 1
        y = x @ np.arange(1, DIM + 1, dtype=np.float32)
        index, count = self.local
        part = slice(index * self.batch_size // count, (index + 1) * self.batch_size // count)
        return {"x": x[part], "y": y[part]}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]

    def skip(self, count):
        self.position += count


def init(key):
    weights = jax.random.normal(key, (DIM,), jnp.float32)
    return {"weights": weights, "momentum": jnp.zeros_like(weights), "steps": jnp.zeros((), jnp.int32)}


def step(state, frozen, batch, key):
    """Momentum descent on noisy least squares: the result depends on every batch, key and the order of both."""

    def loss(weights):
        noise = 0.1 * jax.random.normal(key, batch["y"].shape, jnp.float32)
        return jnp.mean((batch["x"] @ weights - batch["y"] - noise) ** 2) * frozen["scale"]

    value, gradient = jax.value_and_grad(loss)(state["weights"])
    momentum = 0.9 * state["momentum"] + gradient
    weights = state["weights"] - 0.02 * momentum
    return {"weights": weights, "momentum": momentum, "steps": state["steps"] + 1}, {"loss": value, "detail/one": value}


def picture(state, frozen, batch):
    return np.full((4 * batch["x"].shape[0], 8, 3), 100, np.uint8)


def toy_task(**changes):
    frozen = {"scale": np.float32(1)}
    return Task(**{"name": "toy", "init": init, "step": step, "frozen": frozen, "picture": picture, **changes})


def weights_of(state):
    return np.asarray(state["weights"])


def main(workdir, steps, seconds_per_step=0.0, address=None, index=0, count=1, hold=-1):
    """Trains the toy in `workdir`, printing each step taken, and leaves the final weights in weights-<process>.npy.

    It stands still at the input's position `hold`, for whoever wants to kill it there.
    """
    if address:
        jax.config.update("jax_num_cpu_devices", 2)
        os.environ.update({ADDRESS: address, COUNT: str(count), INDEX: str(index)})
    with join_others():
        train(workdir, steps, seconds_per_step, int(index), int(count), int(hold))


def train(workdir, steps, seconds_per_step, index, count, hold):
    batches = ToyBatches(local=(index, count))
    taken = type(batches).__next__

    class Slow(ToyBatches):
        def __next__(self):
            print(f"taking {self.position}", flush=True)
            time.sleep(3600 if self.position == hold else float(seconds_per_step))
            return taken(self)

    batches.__class__ = Slow
    state = fit(
        toy_task(),
        batches,
        workdir=workdir,
        mesh=make_mesh(),
        steps=int(steps),
        seed=3,
        log_every=4,
        picture_every=20,
        checkpoint_every=10,
    )
    np.save(os.path.join(workdir, f"weights-{index}.npy"), weights_of(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
