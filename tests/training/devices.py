"""Small tasks trained on a given mesh, and a program that does so in a process of its own.

    python -m tests.training.devices OUT RUN,RUN,… [ADDRESS INDEX COUNT]

A run is 'task:data×fsdp[:option=number…]': 'adversarial:4x2:accumulate=2' trains on the first eight devices. OUT/<run>.npz
gets the metrics of all steps, and parameters and running mean at the start, after the first step and after the last;
with several processes, OUT/<run>-<index>.npz.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.denoisers import Motion, Statistics
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.models.unet import UNet
from leo_jax.training import animator as adversarial
from leo_jax.training import denoising
from leo_jax.training.loop import fit
from leo_jax.training.state import compiled_step, init_state, make_mesh, place_batch, root_key, spread, to_host

STEPS, BATCH, SIZE = 20, 16, 8
# Adam with eps 1e-8 divides a first gradient by its own size, rounding error and all. With this eps it is about SGD; at this
# rate what differs between two runs stays of the size of what made it differ, for at four times the rate each kink of the
# losses (an absolute difference, where a pixel is right) that rounding decides is carried on and grows.
EPS, RATE = 0.1, 5e-4


def adversarial_task(accumulate=1, remat=False, true=False):
    networks = {"size": SIZE, "width": 1 / 16, "remat": bool(remat)}
    settings = adversarial.Settings(
        perceptual="pyramid_l1",
        perceptual_weight=1.0,
        ema_decay=0.9,
        **{} if true else {"generator_lr": RATE, "discriminator_lr": RATE, "eps": EPS},
        accumulate=accumulate,
    )
    return adversarial.make_task(Animator(code_dim=4, **networks), Discriminator(**networks), settings)


def adversarial_batch(number):
    rng = np.random.default_rng(number)
    return {name: rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8) for name in ("source", "driving")}


def motion():
    """The motion model of sequences of codes (b, 8, 4)."""
    network = {"width": 32, "multipliers": (1,), "num_blocks": 1, "attention": (1,), "num_heads": 2, "groups": 8}
    return Motion(UNet(out_channels=4, **network), length=8)


def denoising_task(accumulate=1):
    statistics = Statistics(np.zeros(4, np.float32), np.ones(4, np.float32))
    settings = denoising.Settings(learning_rate=1e-3, warmup=10, ema_decay=0.9, accumulate=accumulate)
    return denoising.make_task(motion(), statistics, settings)


def denoising_batch(number):
    return {"codes": np.random.default_rng(number).normal(size=(BATCH, 8, 4)).astype(np.float32)}


def evaluation(name):
    """The task's held-out measure, of a number of examples that neither devices nor batches divide."""
    held = {key: array[:13] for key, array in TASKS[name][1](99).items()}
    if name == "adversarial":
        return adversarial.make_evaluation(Animator(SIZE, 1 / 16, 4), held["source"], held["driving"], batch_size=8)
    return denoising.make_evaluation(motion(), held, seed=0, batch_size=8)


TASKS = {"adversarial": (adversarial_task, adversarial_batch), "denoising": (denoising_task, denoising_batch)}


def parameters(state):
    """Parameters and running means as one vector, the optimiser left out."""
    leaves = jax.tree_util.tree_flatten_with_path(to_host(state))[0]
    return np.concatenate([x.ravel() for path, x in leaves if "optimiser" not in jax.tree_util.keystr(path)])


def local_part(batch, mesh):
    """This process's part of a global batch: the processes' parts follow one another."""
    size = BATCH * len(mesh.local_devices) // mesh.size
    return jax.tree.map(lambda x: x[jax.process_index() * size :][:size], batch)


def train(name, mesh, change=lambda state: state, **options):
    """What OUT/<run>.npz holds; `change` is applied to the first state."""
    make, batch_of = TASKS[name]
    task = make(**options)
    state, step, key = change(init_state(task, 0, mesh)), compiled_step(task, mesh), root_key(0)
    found, rows = {"start": parameters(state)}, []
    for number in range(STEPS):
        batch = place_batch(local_part(batch_of(number), mesh), mesh)
        state, metrics = step(state, task.frozen, batch, key, np.uint32(number))
        rows.append({name: float(value) for name, value in metrics.items()})
        if number == 0:
            found["first"] = parameters(state)
    metrics = {f"metric/{name}": np.asarray([row[name] for row in rows]) for name in rows[0]}
    with jax.set_mesh(mesh):
        metrics |= {f"metric/{key}": value for key, value in evaluation(name)(state, task.frozen).items()}
        found["share"] = jax.jit(spread)(np.zeros(BATCH)).addressable_shards[0].data.size
    return {**found, "last": parameters(state), **metrics}


class Batches:
    """This process's parts of a task's batches, endless."""

    def __init__(self, batch_of, mesh):
        self.batch_of, self.mesh, self.position = batch_of, mesh, 0

    def __next__(self):
        self.position += 1
        return local_part(self.batch_of(self.position - 1), self.mesh)

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]

    def skip(self, count):
        self.position += count


def run(workdir, mesh, steps):
    """Trains the adversarial task by `fit`, with everything that it does beside."""
    task, held = adversarial_task(), adversarial_batch(99)
    evaluate = adversarial.make_evaluation(Animator(SIZE, 1 / 16, 4), held["source"], held["driving"])
    state = fit(
        dataclasses.replace(task, evaluate=evaluate),
        Batches(adversarial_batch, mesh),
        workdir=workdir,
        mesh=mesh,
        steps=steps,
        seed=0,
        log_every=1,
        picture_every=2,
        checkpoint_every=2,
    )
    return {"last": parameters(state)}


def nudged(state):
    """Every number of the state moved by about one unit in its last place, up or down."""
    rng = np.random.default_rng(0)
    move = lambda x: x * (1 + 1e-7 * rng.choice([-1, 1], x.shape)).astype(x.dtype)
    return jax.tree.map(lambda x: move(x) if x.dtype == jnp.float32 else x, state)


def main(out, runs, address=None, index=0, count=1):
    if address:
        jax.config.update("jax_num_cpu_devices", 2)
        jax.distributed.initialize(address, num_processes=int(count), process_id=int(index))
    for text in runs.split(","):
        name, sizes, *options = text.split(":")
        data, fsdp = map(int, sizes.split("x"))
        options = {key: int(value) for key, value in (option.split("=") for option in options)}
        mesh = make_mesh(jax.devices()[: data * fsdp], data=data, fsdp=fsdp)
        change = nudged if options.pop("nudged", 0) else lambda state: state
        steps = options.pop("fit", 0)
        found = run(f"{out}/fit", mesh, steps) if steps else train(name, mesh, change, **options)
        np.savez(f"{out}/{text}{f'-{index}' if address else ''}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
