"""What is trained: a task is a record of pure functions, its state a tree of arrays laid out over a mesh of devices."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any
Metrics = Mapping[str, Any]
Step = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, Metrics]]

INIT_FOLD = 2**32 - 1  # no step has this number, so the initial draw shares its key with none


@dataclasses.dataclass(frozen=True)
class Task:
    """One network (or pair) to train.

    Attributes:
        name: what the run's folder and its pictures are called.
        init: key → state, a tree of arrays only (parameters, optimiser state, perhaps an EMA copy).
        step: (state, frozen, batch, key) → (state, metrics); pure, metrics are scalars that have to stay finite. Those
            without a slash in their name are shown on the live line.
        frozen: arrays the step reads and nothing trains (VGG, statistics): an argument of the jitted step, not saved.
        picture: (state, frozen, batch of a few examples) → uint8 (height, width, 3), a sheet for a person to look at.
        evaluate: (state, frozen) → name → number, measured on data that is not trained on, at every checkpoint.
    """

    name: str
    init: Callable[[jax.Array], PyTree]
    step: Step
    frozen: PyTree = ()
    picture: Callable[[PyTree, PyTree, PyTree], np.ndarray] | None = None
    evaluate: Callable[[PyTree, PyTree], Mapping[str, float]] | None = None


@runtime_checkable
class Batches(Protocol):
    """An endless input that knows where it stands; `get_state` is JSON and says what comes after the last batch."""

    def __next__(self) -> PyTree:
        """This process's part of the next global batch."""

    def get_state(self) -> Any:
        """Where the input stands after the last batch given, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes on from where `get_state` was called."""


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """One axis, 'data', over all devices of all processes (or those given).

    The axis is Auto: the warp's gathers and the reshapes of a sharded batch are left to the compiler.
    """
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def along_batch(mesh: Mesh) -> NamedSharding:
    """Every device holds its part of the leading axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def root_key(seed: int) -> jax.Array:
    """The run's key; step k uses `fold_in(root_key(seed), k)`."""
    return jax.random.key(seed)


def abstract_state(task: Task, seed: int, mesh: Mesh) -> PyTree:
    """Shapes, types and shardings of the task's state; nothing is computed."""
    shapes = jax.eval_shape(task.init, root_key(seed))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes)


def init_state(task: Task, seed: int, mesh: Mesh) -> PyTree:
    """The state before the first step, each array computed where `abstract_state` puts it."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(task, seed, mesh))
    init = jax.jit(lambda key: _strong(task.init(key)), out_shardings=shardings)
    return init(jax.random.fold_in(root_key(seed), INIT_FOLD))


def compiled_step(task: Task, mesh: Mesh) -> Callable[..., tuple[PyTree, Metrics]]:
    """The jitted (state, frozen, batch, root key, step number) → (state, metrics); the state is donated."""

    def step(state, frozen, batch, key, number):
        state, metrics = task.step(state, frozen, batch, jax.random.fold_in(key, number))
        return _strong(state), metrics

    # One sharding stands for every leaf: the state comes back as it went in, metrics are whole on every device.
    return jax.jit(step, donate_argnums=0, out_shardings=replicated(mesh))


def place_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """This process's part of the global batch, laid over its devices.

    Raises:
        ValueError: the leading axis cannot be shared out equally among this process's devices.
    """
    devices = len(mesh.local_devices)
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % devices:
            processes = jax.process_count()
            raise ValueError(
                f"the global batch of {leaf.shape[0] * processes} does not divide over {devices * processes} devices: "
                f"make data.batch_size a multiple of {devices * processes}"
            )
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(along_batch(mesh), x), batch)


def first_examples(batch: PyTree, number: int, mesh: Mesh) -> PyTree:
    """The first `number` examples of a placed batch, whole on every device, for pictures."""
    return _first(number, mesh)(batch)


@functools.cache
def _first(number: int, mesh: Mesh) -> Callable[[PyTree], PyTree]:
    return jax.jit(lambda batch: jax.tree.map(lambda x: x[:number], batch), out_shardings=replicated(mesh))


def _strong(tree: PyTree) -> PyTree:
    """Drops weak types: a checkpoint does not keep them, and a resumed step must be the same program."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)
