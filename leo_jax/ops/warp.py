"""Backward warping of a feature map by a sampling grid, in jnp: three forms, the quickest for the platform and the size.

On the CPU four gathers. On accelerators up to DENSE_LIMIT a matrix product; above it one gather, of windows: the four
samples around a position are put side by side first, and fetched as one row of memory.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.ops.platforms import by_platform

DENSE_LIMIT = 16  # px: up to here an accelerator is quicker with a (r², r²) matrix product than with a gather


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
    return (_warp_large if max(h, w) > DENSE_LIMIT else _warp_small)(features, x, y)


def _hat(position: Float[Array, "b n"], size: int) -> Float[Array, "b n r"]:
    """Bilinear weight of each of `size` samples for each position."""
    return jnp.maximum(1 - jnp.abs(position[..., None] - jnp.arange(size, dtype=position.dtype)[None, None, :]), 0)


def _apart(pixels: Array) -> Array:
    """Keeps what made a map of a list of pixels out of convolutions that read it: a TPU's compiler fails at such a fusion."""
    return jax.lax.optimization_barrier(pixels)


def _warp_dense(features: Array, x: Array, y: Array) -> Array:
    b, h, w, c = features.shape
    weights = _hat(y.reshape(b, -1), h)[..., :, None] * _hat(x.reshape(b, -1), w)[..., None, :]
    weights = weights.reshape(b, -1, h * w).astype(features.dtype)
    out = jnp.einsum("bnm,bmc->bnc", weights, features.reshape(b, h * w, c), precision="highest")
    return _apart(out.reshape(*x.shape, c))


class _Corner(NamedTuple):
    """One of the four samples around each position: its row in the flattened map, its weight and the weight's slopes.

    All are (b, n); weight and slopes are 0 outside of the map.
    """

    place: Array
    weight: Array
    slope_x: Array
    slope_y: Array


def _corners(x: Float[Array, "b n"], y: Float[Array, "b n"], h: int, w: int) -> list[_Corner]:
    x0, y0 = jnp.floor(x), jnp.floor(y)
    fx, fy = x - x0, y - y0
    corners = []
    for right in (0, 1):
        for below in (0, 1):
            column, row = x0 + right, y0 + below
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            index = jnp.clip(row, 0, h - 1).astype(jnp.int32) * w + jnp.clip(column, 0, w - 1).astype(jnp.int32)
            of_x, of_y = (fx if right else 1 - fx), (fy if below else 1 - fy)
            parts = (of_x * of_y, of_y if right else -of_y, of_x if below else -of_x)
            corners.append(_Corner(index, *(jnp.where(inside, part, 0.0) for part in parts)))
    return corners


def _rows(features: Array, index: Array) -> Array:
    b, h, w, c = features.shape
    return jax.vmap(lambda f, i: f.at[i].get(mode="promise_in_bounds"))(features.reshape(b, h * w, c), index)


@jax.custom_vjp
def _warp_gather(features: Array, x: Array, y: Array) -> Array:
    b, h, w, c = features.shape
    corners = _corners(x.reshape(b, -1), y.reshape(b, -1), h, w)
    samples = [_rows(features, k.place) * k.weight[..., None].astype(features.dtype) for k in corners]
    return functools.reduce(jnp.add, samples).reshape(*x.shape, c)


def _gather_forward(features: Array, x: Array, y: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return _warp_gather(features, x, y), (features, x, y)


def _gather_backward(saved: tuple[Array, Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    """The map's gradient is a scatter; a position's needs only the products of dy with its four samples, gathered again."""
    features, x, y = saved
    b, h, w, c = features.shape
    dy = dy.reshape(b, -1, c)
    d_features = jnp.zeros((b, h * w, c), dy.dtype)
    d_x = d_y = jnp.zeros(dy.shape[:2], jnp.float32)
    for corner in _corners(x.reshape(b, -1), y.reshape(b, -1), h, w):
        product = jnp.sum((dy * _rows(features, corner.place)).astype(jnp.float32), axis=-1)
        d_x += product * corner.slope_x
        d_y += product * corner.slope_y
        update = dy * corner.weight[..., None].astype(dy.dtype)
        d_features = jax.vmap(lambda f, i, u: f.at[i].add(u, mode="promise_in_bounds"))(
            d_features, corner.place, update
        )
    return d_features.reshape(features.shape), d_x.reshape(x.shape), d_y.reshape(y.shape)


_warp_gather.defvjp(_gather_forward, _gather_backward)


class _Window(NamedTuple):
    """The 2×2 samples around each position, left before right and then top before bottom; all but `samples` are (b, n).

    `samples` is (b, n, 4·c), zeros outside of the map; `place` its row among all windows (b, (h + 1)·(w + 1), 4·c); `fx` and
    `fy` the position in the window; `inside` is 0 where all four samples lie outside, else 1.
    """

    samples: Array
    place: Array
    fx: Array
    fy: Array
    inside: Array

    def corners(self) -> list[_Corner]:
        """What is needed of each sample."""
        fx, fy, inside = self.fx, self.fy, self.inside
        parts = [(wx, wy, sx, sy) for wy, sy in ((1 - fy, -1), (fy, 1)) for wx, sx in ((1 - fx, -1), (fx, 1))]
        return [_Corner(self.place, wx * wy * inside, sx * wy * inside, sy * wx * inside) for wx, wy, sx, sy in parts]


def _windows(features: Array, x: Float[Array, "b n"], y: Float[Array, "b n"]) -> _Window:
    b, h, w, c = features.shape
    padded = jnp.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = (padded[:, :-1], padded[:, 1:])
    sides = [side for row in rows for side in (row[:, :, :-1], row[:, :, 1:])]
    windows = jnp.concatenate(sides, axis=-1).reshape(b, 1, (h + 1) * (w + 1), 4 * c)
    x0, y0 = jnp.floor(x), jnp.floor(y)
    inside = (x0 >= -1) & (x0 < w) & (y0 >= -1) & (y0 < h)
    column, row = jnp.clip(x0, -1, w - 1).astype(jnp.int32) + 1, jnp.clip(y0, -1, h - 1).astype(jnp.int32) + 1
    index = row * (w + 1) + column
    return _Window(_rows(windows, index), index, x - x0, y - y0, inside.astype(jnp.float32))


@jax.custom_vjp
def _warp_windows(features: Array, x: Array, y: Array) -> Array:
    b, _, _, c = features.shape
    window = _windows(features, x.reshape(b, -1), y.reshape(b, -1))
    samples = jnp.split(window.samples, 4, axis=-1)
    parts = zip(samples, window.corners(), strict=True)
    out = sum(sample.astype(jnp.float32) * corner.weight[..., None] for sample, corner in parts)
    return _apart(jnp.asarray(out, features.dtype).reshape(*x.shape, c))


def _windows_forward(features: Array, x: Array, y: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return _warp_windows(features, x, y), (features, x, y)


def _windows_backward(saved: tuple[Array, Array, Array], dy: Array) -> tuple[Array, Array, Array]:
    """Windows are gathered again (that is, once: the compiler sees it twice), and their gradients scattered as whole rows."""
    features, x, y = saved
    b, h, w, c = features.shape
    window = _windows(features, x.reshape(b, -1), y.reshape(b, -1))
    corners, dy = window.corners(), dy.reshape(b, -1, c).astype(jnp.float32)
    samples = jnp.split(window.samples, 4, axis=-1)
    products = [jnp.sum(dy * sample.astype(jnp.float32), axis=-1) for sample in samples]
    d_x = sum(product * corner.slope_x for product, corner in zip(products, corners, strict=True))
    d_y = sum(product * corner.slope_y for product, corner in zip(products, corners, strict=True))
    updates = jnp.concatenate([(dy * corner.weight[..., None]).astype(features.dtype) for corner in corners], axis=-1)
    sums = jnp.zeros((b, (h + 1) * (w + 1), 4 * c), features.dtype)
    sums = jax.vmap(lambda s, i, u: s.at[i].add(u, mode="promise_in_bounds"))(sums, window.place, updates)
    top_left, top_right, low_left, low_right = jnp.split(sums.reshape(b, h + 1, w + 1, 4 * c), 4, axis=-1)
    d_features = top_left[:, 1:, 1:] + top_right[:, 1:, :-1] + low_left[:, :-1, 1:] + low_right[:, :-1, :-1]
    return _apart(d_features), jnp.asarray(d_x).reshape(x.shape), jnp.asarray(d_y).reshape(y.shape)


_warp_windows.defvjp(_windows_forward, _windows_backward)

_warp_small = by_platform(_warp_dense, cpu=_warp_gather)
_warp_large = by_platform(_warp_windows, cpu=_warp_gather)
