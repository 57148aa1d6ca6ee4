"""Backward warping of a feature map by a sampling grid, in jnp."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DENSE_LIMIT = 16  # px: up to here a (r², r²) matrix product beats the gather, above it the gather wins


def identity_grid(size: int) -> Float[Array, "r r 2"]:
    """linspace(-1, 1, r) in each axis, x first (SPEC §1, flow head).

    It is not the identity of `warp`, whose pixel centres lie at (i + 0.5)·2/r - 1: the checkpoints were trained so.
    """
    line = jnp.linspace(-1.0, 1.0, size, dtype=jnp.float32)
    return jnp.stack(jnp.meshgrid(line, line, indexing="xy"), axis=-1)


def warp(features: Float[Array, "f h w c"], grid: Float[Array, "b p q 2"]) -> Float[Array, "b p q c"]:
    """Samples `features` bilinearly at `grid` (x, y in [-1, 1], pixel centres at (i + 0.5)·2/n - 1); zero outside.

    One feature map (f = 1) may serve a whole batch of grids; else f = b. Coordinates and weights are float32 whatever the
    features' type.
    """
    f, h, w, _ = features.shape
    b, p, q, _ = grid.shape
    if f == 1 and b > 1:
        return warp(features, grid.reshape(1, b * p, q, 2)).reshape(b, p, q, -1)
    x = (grid[..., 0].astype(jnp.float32) + 1) * (w / 2) - 0.5
    y = (grid[..., 1].astype(jnp.float32) + 1) * (h / 2) - 0.5
    return (_warp_dense if max(h, w) <= DENSE_LIMIT else _warp_gather)(features, x, y)


def _hat(position: Float[Array, "b n"], size: int) -> Float[Array, "b n r"]:
    """Bilinear weight of each of `size` samples for each position."""
    return jnp.maximum(1 - jnp.abs(position[..., None] - jnp.arange(size, dtype=position.dtype)[None, None, :]), 0)


def _warp_dense(features: Array, x: Array, y: Array) -> Array:
    b, h, w, c = features.shape
    weights = _hat(y.reshape(b, -1), h)[..., :, None] * _hat(x.reshape(b, -1), w)[..., None, :]
    out = jnp.einsum(
        "bnm,bmc->bnc",
        weights.reshape(b, -1, h * w).astype(features.dtype),
        features.reshape(b, h * w, c),
        precision="highest",
    )
    return out.reshape(*x.shape, c)


def _warp_gather(features: Array, x: Array, y: Array) -> Array:
    b, h, w, c = features.shape
    rows = features.reshape(b, h * w, c)
    x0, y0 = jnp.floor(x), jnp.floor(y)
    fx, fy = x - x0, y - y0

    def corner(column: Array, row: Array, weight: Array) -> Array:
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
        index = jnp.clip(row, 0, h - 1).astype(jnp.int32) * w + jnp.clip(column, 0, w - 1).astype(jnp.int32)
        values = jax.vmap(lambda f, i: f.at[i].get(mode="promise_in_bounds"))(rows, index)
        return values * jnp.where(inside, weight, 0.0)[..., None].astype(features.dtype)

    return (
        corner(x0, y0, (1 - fx) * (1 - fy))
        + corner(x0 + 1, y0, fx * (1 - fy))
        + corner(x0, y0 + 1, (1 - fx) * fy)
        + corner(x0 + 1, y0 + 1, fx * fy)
    )
