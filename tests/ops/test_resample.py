"""Resampling against its definition in SciPy, and its properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from leo_jax.ops import resample

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def image(h, w, c=2, seed=0):
    return np.random.default_rng(seed).standard_normal((1, h, w, c)).astype(np.float32)


def by_definition(x, kernel, padding, up=1, down=1):
    """Zero insertion, zero padding, convolution, decimation, one channel at a time."""
    out = []
    for plane in np.moveaxis(x[0], -1, 0):
        wide = np.zeros((plane.shape[0] * up, plane.shape[1] * up))
        wide[::up, ::up] = plane
        out.append(scipy.signal.correlate2d(np.pad(wide, padding), kernel, mode="valid")[::down, ::down])
    return np.stack(out, axis=-1)[None]


@pytest.mark.parametrize(("padding", "stride"), [((2, 2), 1), ((1, 1), 2), ((1, 1), 1)])
def test_blur_is_its_definition(padding, stride):
    x = image(8, 6)
    np.testing.assert_allclose(
        resample.blur(jnp.asarray(x), padding, stride), by_definition(x, BLUR, padding, down=stride), atol=1e-6
    )


@pytest.mark.parametrize(("padding", "stride"), [((2, 2), 1), ((1, 1), 2), ((1, 1), 1)])
def test_both_forms_of_the_blur_agree(padding, stride):
    x = jnp.asarray(image(8, 6))
    forms = [lambda x, f=f: f(x, padding, stride) for f in (resample._blur_slices, resample._blur_depthwise)]
    (one, pull_one), (other, pull_other) = (jax.vjp(form, x) for form in forms)
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(pull_one(one)[0], pull_other(one)[0], atol=1e-6)


def test_upsample_is_its_definition():
    x = image(5, 4)
    np.testing.assert_allclose(resample.upsample(jnp.asarray(x)), by_definition(x, 4 * BLUR, (2, 1), up=2), atol=1e-6)


def test_constant_passes_through_blur_and_upsampling():
    ones = jnp.ones((1, 8, 8, 1), jnp.float32)
    np.testing.assert_allclose(resample.blur(ones, (2, 2))[0, 3:-3, 3:-3], 1, atol=1e-6)
    np.testing.assert_allclose(resample.upsample(ones)[0, 2:-2, 2:-2], 1, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_downscale_is_a_cut_gaussian_then_every_nth_pixel(factor):
    x = image(32, 32)
    sigma = (factor - 1) / 2
    r = round(4 * sigma)
    taps = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * sigma**2))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    expected = by_definition(x, kernel, r)[:, ::factor, ::factor]
    np.testing.assert_allclose(resample.downscale(jnp.asarray(x), factor), expected, atol=1e-5)


def test_both_forms_of_resampling_by_matrices_agree():
    x = jnp.asarray(image(32, 16, c=3))
    rows, columns = np.random.default_rng(1).standard_normal((2, 5, 32)).astype(np.float32)
    forms = [lambda x, f=f: f(x, rows, columns[:, :16]) for f in (resample._interleaved, resample._planes)]
    (one, pull_one), (other, pull_other) = (jax.vjp(form, x) for form in forms)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pull_one(one)[0], pull_other(one)[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("size", "scales"), [(256, 4), (128, 4), (64, 3), (32, 2)])
def test_pyramid_leaves_out_scales_under_16_px(size, scales):
    shapes = jax.eval_shape(resample.pyramid, jax.ShapeDtypeStruct((1, size, size, 3), np.float32))
    assert [s.shape[1] for s in shapes] == [size >> i for i in range(scales)]
