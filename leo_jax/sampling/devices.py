"""Batches over this process's devices: each computes its own rows, by the program that one device alone would run."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped

AXIS = "devices"


@functools.cache
def mesh() -> Mesh:
    """This process's devices in a row. Sampling needs no other process: each makes what it is asked for."""
    return Mesh(np.asarray(jax.local_devices()), (AXIS,))


def replicate(tree: Any) -> Any:
    """The arrays of `tree` on every device."""
    return jax.device_put(tree, NamedSharding(mesh(), PartitionSpec()))


def spread(function: Callable[..., Any], batched: Sequence[bool]) -> Callable[..., Any]:
    """`function` under jit, its batch divided over the devices.

    Args:
        function: of positional arguments; its results have the batch as their first axis.
        batched: for each argument, whether its arrays have that axis too, a multiple of the number of devices; the others
            are whole on every device.
    """
    if mesh().size == 1:
        return jax.jit(function)
    specs = tuple(PartitionSpec(AXIS) if split else PartitionSpec() for split in batched)
    # The check of replication knows no rule for some of the primitives inside, and nothing here is reduced over devices.
    return jax.jit(jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False))


def pad(array: Shaped[np.ndarray, "n ..."], rows: int) -> Shaped[np.ndarray, "m ..."]:
    """`array` with its last row repeated up to `rows` rows."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing else array
