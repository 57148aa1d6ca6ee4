"""A 1-D U-Net that denoises a few sequences step after step on a CPU, prepared for it once.

At batch 1 a step's matrices have 8 to 64 rows: most of its time is that of reading the weights, and XLA's CPU backend, given a
kernel as it is stored, reads it at half the rate that the memory has. So before the first step kernels are cut into pieces of
columns, which its threads share and read in the order in which they lie; and what blocks make of the steps' embeddings, a
function of the step alone, is made for all steps at once: a sixth of the weights is then read once and not at each step.

Layers find both in collections of variables beside their parameters.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array

from leo_jax.models.affine import COLUMNS, FEW_ROWS
from leo_jax.models.unet import EMBEDDED, UNet

PyTree = Any
BLOCK = 8  # rows of the steps' table that are looked at for one of them


def serves(module: UNet, rows: int) -> bool:
    """Whether `network` prepares this one, and it is quicker for that on sequences of `rows` positions together."""
    return (
        type(module) is UNet  # another class may do something else
        and module.dims == 1
        and module.dtype == jnp.float32
        and module.condition_dim is None
        and module.num_classes is None
        and rows <= FEW_ROWS
    )


def network(module: UNet, params: PyTree, timesteps: np.ndarray) -> Callable[[Array, Array], Array]:
    """The network as a function of x (b, t, c) and the step (b,), one of `timesteps` and the same for all of the batch.

    Call it outside the loop over the steps: it does the work that is done once.
    """
    beside = {"params": params, COLUMNS: columns(params)}
    row_of = embeddings(module, params, timesteps)

    def run(x: Array, t: Array) -> Array:
        y: Any = module.apply({**beside, EMBEDDED: row_of(t[0])}, x, t)
        return y

    return run


def columns(params: Mapping[str, Any]) -> dict[str, Any]:
    """Kernels of 256 columns and more as tuples of arrays of 24 to 48 of their columns; embeddings' and biases are left out."""
    cut = {}
    for path, value in traverse_util.flatten_dict(params).items():
        if path[-1] == "kernel" and value.shape[-1] >= 256 and "embed" not in path[-2]:
            # Ten or more: XLA's executor calls another thread only for what waits beyond eight.
            width = min(48, value.shape[-1] // 80 * 8)
            kernel = value.reshape(-1, value.shape[-1])
            cut[path] = tuple(kernel[:, i : i + width] for i in range(0, kernel.shape[-1], width))
    return traverse_util.unflatten_dict(cut)


def embeddings(module: UNet, params: PyTree, timesteps: np.ndarray) -> Callable[[Array], dict[str, Any]]:
    """What each block makes of the embedding of a step, for all of `timesteps`; gives one step's, as ResBlock looks for it."""
    steps = jnp.asarray(timesteps, jnp.int32)
    x = jnp.zeros((len(timesteps), 2 ** (len(module.multipliers) - 1), module.out_channels))
    _, state = module.apply(
        {"params": params},
        x,
        steps,
        mutable=["intermediates"],
        capture_intermediates=lambda layer, _: layer.name == "embed",
    )
    made = {path[0]: value[0] for path, value in traverse_util.flatten_dict(state["intermediates"]).items()}
    table = jnp.concatenate(list(made.values()), -1)
    ends = np.cumsum([value.shape[-1] for value in made.values()])
    block = min(BLOCK, len(timesteps))

    def row_of(step: Array) -> dict[str, Any]:
        # By a product: XLA would fuse a mere slice into every use of it, and find the row again for each element there.
        index = jnp.argmax(steps == step)
        first = jnp.minimum(index, len(timesteps) - block)
        near = jax.lax.dynamic_slice_in_dim(table, first, block)
        here = (first + jnp.arange(block) == index).astype(table.dtype)
        row = jnp.matmul(here[None], near, precision="highest")
        return {name: {"embed_of_step": part} for name, part in zip(made, jnp.split(row, ends[:-1], -1), strict=True)}

    return row_of
