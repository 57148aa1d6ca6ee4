"""What follows a gradient: Adam with a warm-up, a rate that falls at the end, and running means of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

PyTree = Any


def adam(learning_rate: float, warmup: int = 0) -> optax.GradientTransformation:
    """AdamW without decay (betas 0.9 and 0.999, eps 1e-8); the rate rises linearly over the first `warmup` steps."""

    def rate(count: Int[Array, ""]) -> Array:
        return learning_rate * jnp.minimum(1.0, (count.astype(jnp.float32) + 1) / max(warmup, 1))

    return promoting(optax.adamw(rate, weight_decay=0.0))


def promoting(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation where types are not promoted by themselves: optax raises a float to the integer count."""

    def update(gradients: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return transformation.update(gradients, state, params)

    return optax.GradientTransformation(transformation.init, update)


def updates_made(state: Any) -> Int[Array, ""]:
    """How many updates an optimiser's state has seen: its first count, for where there are several they agree."""
    return optax.tree_utils.tree_get_all_with_path(state, "count")[0][1]


def updated(
    transformation: optax.GradientTransformation,
    gradients: PyTree,
    optimiser: Any,
    params: PyTree,
    factor: Float[Array, ""],
) -> tuple[PyTree, Any]:
    """Parameters and the optimiser's state after one update, of which `factor` is made (`falling`)."""
    updates, optimiser = transformation.update(gradients, optimiser, params)
    return optax.apply_updates(params, jax.tree.map(lambda update: factor * update, updates)), optimiser


def check_falloff(falloff: int) -> None:
    """Raises ValueError if `falloff` is negative."""
    if falloff < 0:
        raise ValueError(f"falloff = {falloff}: steps, or 0 for a rate that stays")


def falling(count: Int[Array, ""], steps: int, falloff: int) -> Float[Array, ""]:
    """What the rate is multiplied by after `count` of `steps` updates: 1, and over the last `falloff` linearly to 0.

    Where there are fewer steps it falls over all of them.
    """
    if not falloff:
        return jnp.ones(())
    falloff = min(falloff, steps)
    return jnp.clip((steps - count.astype(jnp.float32)) / falloff, 0, 1)


def running_mean(mean: PyTree, params: PyTree, decay: float, count: Int[Array, ""]) -> PyTree:
    """decay·mean + (1 − decay)·params after `count` updates; young means forget the random start sooner.

    The decay is at most count/(count + 9): after n steps nothing older than about n/10 of them weighs.
    """
    steps = count.astype(jnp.float32)
    now = jnp.minimum(decay, steps / (steps + 9))
    return jax.tree.map(lambda m, p: now * m + (1 - now) * p, mean, params)
