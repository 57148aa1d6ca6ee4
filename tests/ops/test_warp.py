"""The warp against its definition, and its gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.ops import warp as ops

SIZES = [8, 16, 32]  # both sides of the switch between matrix product and gather


def draw(*shape, seed=0, low=-1.0, high=1.0):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape), jnp.float32)


def by_definition(features, grid):
    """One output pixel at a time."""
    _, h, w, c = features.shape
    out = np.zeros((*grid.shape[:3], c))
    for place in np.ndindex(grid.shape[:3]):
        x, y = (grid[place].astype(np.float64) + 1) * np.array([w, h]) / 2 - 0.5
        for column in (np.floor(x), np.floor(x) + 1):
            for row in (np.floor(y), np.floor(y) + 1):
                if 0 <= column < w and 0 <= row < h:
                    weight = (1 - abs(x - column)) * (1 - abs(y - row))
                    out[place] += weight * features[place[0], int(row), int(column)]
    return out


@pytest.mark.parametrize("size", SIZES)
def test_samples_bilinearly_with_zeros_outside(size):
    features, grid = draw(2, size, size, 3), draw(2, size, size, 2, seed=1, low=-1.3, high=1.3)
    expected = by_definition(np.asarray(features), np.asarray(grid))
    np.testing.assert_allclose(ops.warp(features, grid), expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_pixel_centres_give_back_the_features(size):
    features = draw(1, size, size, 3)
    line = (jnp.arange(size, dtype=jnp.float32) + 0.5) * 2 / size - 1
    grid = jnp.stack(jnp.meshgrid(line, line), axis=-1)[None]
    np.testing.assert_allclose(ops.warp(features, grid), features, atol=1e-5)
    moved = ops.warp(features, grid + jnp.asarray([2 / size, 0.0], jnp.float32)[None, None, None, :])
    np.testing.assert_allclose(moved[:, :, :-1], features[:, :, 1:], atol=1e-5, err_msg="x comes first, to the right")


def test_the_generators_grid_is_not_the_identity():
    grid = ops.identity_grid(8)
    assert grid[0, 0].tolist() == [-1, -1] and grid[0, -1].tolist() == [1, -1]
    corner = ops.warp(jnp.ones((1, 8, 8, 1), jnp.float32), grid[None])[0, 0, 0, 0]
    np.testing.assert_allclose(
        corner, 0.25, atol=1e-6, err_msg="half a pixel outside in both axes: checkpoints need it"
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("argument", [0, 1], ids=["features", "flow"])
def test_gradients_agree_with_finite_differences(size, argument):
    with jax.enable_x64(False):
        # Grid points are kept off the kinks of the bilinear weights, where no derivative exists.
        cells = np.random.default_rng(2).integers(-1, size, (1, size, size, 2)) + 0.5
        inner = np.random.default_rng(3).uniform(-0.3, 0.3, cells.shape)
        grid = jnp.asarray((cells + inner + 0.5) * 2 / size - 1, jnp.float32)
        features, weight = draw(1, size, size, 3), draw(1, size, size, 3, seed=4)
        loss = jax.jit(lambda f, g: jnp.sum(ops.warp(f, g) * weight))
        gradient = jax.jit(jax.grad(loss, argnums=argument))(features, grid)
        args = [features, grid]
        step = 0.1 / size
        for seed in range(3):
            sign = jnp.sign(draw(*args[argument].shape, seed=10 + seed))
            shifted = lambda amount, sign=sign: [a + amount * sign if i == argument else a for i, a in enumerate(args)]
            change = (float(loss(*shifted(step))) - float(loss(*shifted(-step)))) / (2 * step)
            np.testing.assert_allclose(jnp.sum(gradient * sign), change, rtol=1e-2, atol=2e-2 * size)


def test_one_map_serves_many_grids():
    features, grids = draw(1, 32, 32, 3), draw(4, 32, 32, 2, seed=1, low=-1.2, high=1.2)
    together = ops.warp(features, grids)
    for i in range(4):
        np.testing.assert_allclose(together[i], ops.warp(features, grids[i : i + 1])[0], atol=1e-6)


def test_coordinates_stay_exact_in_bfloat16():
    features, grid = draw(1, 128, 128, 1), draw(1, 128, 128, 2, seed=1)
    rough = ops.warp(features.astype(jnp.bfloat16), grid)
    assert rough.dtype == jnp.bfloat16
    error = jnp.max(jnp.abs(rough.astype(jnp.float32) - ops.warp(features, grid)))
    assert error < 0.05, f"{error:.3f}: rounded coordinates would be half a pixel off here"


@pytest.mark.parametrize("form", [ops._warp_dense, ops._warp_windows])
@pytest.mark.parametrize(("maps", "grids"), [(2, 2), (1, 1)])
def test_forms_agree_in_value_and_gradients(form, maps, grids):
    """Also far outside of the map, on its border, and between uneven sizes."""
    features = draw(maps, 6, 9, 3)
    x, y = draw(grids, 7, 5, seed=1, low=-4, high=12), draw(grids, 7, 5, seed=2, low=-4, high=9)
    x, y = x.at[:, 0].set(-1.0), y.at[:, 1].set(5.0)  # exactly on samples, inside and outside
    weight = draw(grids, 7, 5, 3, seed=3)
    results = [
        jax.value_and_grad(lambda *a, f=f: jnp.sum(f(*a) * weight), argnums=(0, 1, 2))(features, x, y)
        for f in (ops._warp_gather, form)
    ]
    (value, gradients), (other_value, other_gradients) = results
    np.testing.assert_allclose(other_value, value, atol=1e-4)
    np.testing.assert_allclose(other_gradients[0], gradients[0], atol=1e-5)
    away = (np.asarray(x) % 1 > 1e-3) & (np.asarray(y) % 1 > 1e-3)  # on a sample the weights have a kink
    for got, want in zip(other_gradients[1:], gradients[1:], strict=True):
        np.testing.assert_allclose(np.asarray(got)[away], np.asarray(want)[away], atol=1e-4)


def test_windows_in_bfloat16_keep_their_types():
    features, x = draw(1, 20, 20, 4).astype(jnp.bfloat16), draw(1, 20, 20, seed=1, low=0, high=19)
    out, pull = jax.vjp(ops._warp_windows, features, x, x)
    gradients = pull(out)
    assert [a.dtype for a in (out, *gradients)] == [jnp.bfloat16, jnp.bfloat16, jnp.float32, jnp.float32]
