"""Gradients of a batch that does not fit the memory: one part after another, then their mean."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from leo_jax.training.state import PyTree, whole


def averaged(compute: Callable[[PyTree], PyTree], batch: PyTree, parts: int, *, block: int = 1) -> PyTree:
    """The mean of `compute` over `parts` equal parts of the batch, computed one after another.

    That is `compute(batch)` up to rounding where it returns means over samples: losses, their gradients. What is random
    has to be drawn for the whole batch before, and handed in as a part of it.

    Args:
        compute: part of the batch → tree of float arrays.
        batch: arrays with the batch axis first.
        parts: 1 computes the whole batch at once.
        block: consecutive samples that belong together (the discriminator's statistic has blocks of 8). Part i gets
            blocks i, i + parts, …: when a device holds parts·block samples, or a multiple, every part is shared out
            over all devices as the batch is, and no sample moves.

    Raises:
        ValueError: the batch cannot be cut into such parts.
    """
    if parts == 1:
        return whole(compute(batch))
    size = jax.tree.leaves(batch)[0].shape[0]
    if parts < 1 or size % (parts * block):
        raise ValueError(
            f"accumulate = {parts}: a batch of {size} cannot be cut into {parts} equal parts of whole blocks of {block}; "
            f"make it a multiple of {max(parts, 1) * block}, or accumulate = 1"
        )

    def cut(x: jax.Array) -> jax.Array:
        blocks = x.reshape(size // (parts * block), parts, block, *x.shape[1:])
        return jnp.moveaxis(blocks, 1, 0).reshape(parts, size // parts, *x.shape[1:])

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, whole(compute(part))), None

    pieces = jax.tree.map(cut, batch)
    shapes = jax.eval_shape(compute, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, pieces)
    return jax.tree.map(lambda x: x / parts, total)
