"""What is trained: a task is a record of pure functions, its state a tree of arrays laid out over a mesh of devices."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any
Metrics = Mapping[str, Any]
Evaluation = Callable[[PyTree, PyTree], Mapping[str, float]]
Step = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, Metrics]]

INIT_FOLD = 2**32 - 1  # no step has this number, so the initial draw shares its key with none
WHOLE = 2**12  # elements below which an array of the state is not cut


@dataclasses.dataclass(frozen=True)
class Task:
    """One network (or pair) to train.

    Attributes:
        name: what the run's folder and its pictures are called.
        init: key → state, a tree of arrays only (parameters, optimiser state, perhaps an EMA copy). What the networks
            compute with lies under a key 'params': a mesh that cuts the state gathers it for the step.
        step: (state, frozen, batch, key) → (state, metrics); pure, metrics are scalars that have to stay finite. Those
            without a slash in their name are shown on the live line.
        frozen: arrays the step reads and nothing trains (VGG, statistics): an argument of the jitted step, not saved.
        picture: (state, frozen, batch of a few examples) → uint8 (height, width, 3), a sheet for a person to look at.
        evaluate: (state, frozen) → name → number, measured on data that is not trained on, at every checkpoint.
        given: subtrees of the state, as arrays, that begin in place of init's: {'generator': {'params': …}}.
    """

    name: str
    init: Callable[[jax.Array], PyTree]
    step: Step
    frozen: PyTree = ()
    picture: Callable[[PyTree, PyTree, PyTree], np.ndarray] | None = None
    evaluate: Evaluation | None = None
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@runtime_checkable
class Batches(Protocol):
    """An endless input that knows where it stands; `get_state` is JSON and says what comes after the last batch."""

    def __next__(self) -> PyTree:
        """This process's part of the next global batch."""

    def get_state(self) -> Any:
        """Where the input stands after the last batch given, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes on from where `get_state` was called."""

    def skip(self, count: int) -> None:
        """Passes over the next `count` batches."""


def make_mesh(devices: Sequence[Any] | None = None, *, data: int = -1, fsdp: int = 1) -> Mesh:
    """Axes 'data' and 'fsdp' over all devices of all processes (or those given): data·fsdp of them.

    The batch is shared out over both; parameters, optimiser state and running means over 'fsdp' (`layout`). The axes are
    Auto: the warp's gathers and the reshapes of a sharded batch are left to the compiler. Devices are in the processes'
    order, so that the global batch is the processes' parts one after another.

    Raises:
        ValueError: data·fsdp is not the number of devices; -1, for one of the two, stands for what is left.
    """
    devices = sorted(jax.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id))
    count, given = len(devices), (data, fsdp)
    if data == -1 and fsdp > 0:
        data = count // fsdp
    elif fsdp == -1 and data > 0:
        fsdp = count // data
    if min(data, fsdp) < 1 or data * fsdp != count:
        raise ValueError(
            f"mesh.data = {given[0]}, mesh.fsdp = {given[1]} over {count} devices: their product must be {count} "
            "(-1, for one of them, is what the other leaves)"
        )
    axes = (AxisType.Auto, AxisType.Auto)
    return Mesh(np.asarray(devices, object).reshape(data, fsdp), ("data", "fsdp"), axis_types=axes)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def along_batch(mesh: Mesh) -> NamedSharding:
    """Every device holds its part of the leading axis."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def layout(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Where an array of the state lies: its largest axis that 'fsdp' divides is cut over 'fsdp' (the last of equals).

    Arrays under `WHOLE` elements, and those without such an axis, are whole on every device: gathering them would cost
    more in latency than they take in memory.
    """
    ways = mesh.shape["fsdp"]
    axes = [axis for axis, size in enumerate(shape) if size % ways == 0]
    if ways == 1 or math.prod(shape) < WHOLE or not axes:
        return replicated(mesh)
    cut = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*["fsdp" if axis == cut else None for axis in range(len(shape))]))


def root_key(seed: int) -> jax.Array:
    """The run's key; step k uses `fold_in(root_key(seed), k)`."""
    return jax.random.key(seed)


def abstract_state(task: Task, seed: int, mesh: Mesh) -> PyTree:
    """Shapes, types and shardings of the task's state; nothing is computed."""
    shapes = jax.eval_shape(task.init, root_key(seed))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout(x.shape, mesh)), shapes)


def init_state(task: Task, seed: int, mesh: Mesh) -> PyTree:
    """The state before the first step, each array computed where `abstract_state` puts it."""
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(task, seed, mesh))
    init = jax.jit(lambda key: _strong(task.init(key)), out_shardings=shardings)
    return _begun(init(jax.random.fold_in(root_key(seed), INIT_FOLD)), task.given)


def _begun(state: PyTree, given: PyTree) -> PyTree:
    """The state with `given` in place of its subtrees of the same names."""
    if not isinstance(given, Mapping):
        placed = jax.device_put(np.asarray(given, state.dtype), state.sharding)
        return jax.jit(jnp.copy)(placed)  # memory of its own: a step is given the state to write over
    return {**state, **{name: _begun(state[name], value) for name, value in given.items()}}


def compiled_step(task: Task, mesh: Mesh) -> jax.stages.Wrapped:
    """The jitted (state, frozen, batch, root key, step number) → (state, metrics); the state is donated."""

    def step(state, frozen, batch, key, number):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            state, metrics = task.step(_gathered(state), frozen, batch, jax.random.fold_in(key, number))
        return _strong(state), metrics

    # The state comes back laid out as it went in; metrics are whole on every device.
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(task, 0, mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def whole(tree: PyTree) -> PyTree:
    """The same arrays, whole on every device: what parameters must be where they are used, and gradients once reduced.

    It says so to the compiler, inside the step that `compiled_step` traces; elsewhere it does nothing. Untold, the
    compiler may cut feature maps the way it finds kernels or their gradients cut, and move those instead.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec()), tree)


def spread(batch: PyTree) -> PyTree:
    """The same arrays, cut along the leading axis over all devices of the mesh that is set (`jax.set_mesh`), where it is traced.

    For arrays that every process holds whole: each device then works on its part. Sizes need not divide. Without a mesh it
    does nothing.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return batch
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec(("data", "fsdp"))), batch)


def _gathered(state: PyTree) -> PyTree:
    """The state with what lies under a key 'params' whole, and the rest where it lies."""
    under = lambda path: any(getattr(part, "key", None) == "params" for part in path)
    return jax.tree_util.tree_map_with_path(lambda path, x: whole(x) if under(path) else x, state)


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


def to_host(tree: PyTree) -> PyTree:
    """The whole arrays as NumPy's, on every process, however they are laid out. Every process must call it."""

    def one(x: Any) -> np.ndarray:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return np.asarray(x)
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(one, tree)


def _strong(tree: PyTree) -> PyTree:
    """Drops weak types: a checkpoint does not keep them, and a resumed step must be the same program."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), tree)
