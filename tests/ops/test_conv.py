"""Convolutions and their gradients against XLA's own dilated and strided forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from leo_jax.ops import conv, conv_cpu, conv_xla, resample

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def xla_same(x, k):
    return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=DIMENSIONS)


def xla_down(x, k):
    padding = (2, 2) if k.shape[0] == 3 else (1, 1)
    return lax.conv_general_dilated(resample.blur(x, padding), k, (2, 2), "VALID", dimension_numbers=DIMENSIONS)


def xla_halves(x, k):
    return lax.conv_general_dilated(x, k, (2, 2), [(1, 1)] * 2, dimension_numbers=DIMENSIONS)


def xla_transposed(x, k):
    return lax.conv_general_dilated(
        x, k[::-1, ::-1], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )


def xla_up(x, k):
    return 4 * resample.blur(xla_transposed(x, k), (1, 1))


CASES = {
    "same 3x3": (conv.same_conv, xla_same, (3, 3, 5, 4)),
    "same 1x1": (conv.same_conv, xla_same, (1, 1, 5, 4)),
    "down 3x3": (conv.downsampling_conv, xla_down, (3, 3, 5, 4)),
    "down 1x1": (conv.downsampling_conv, xla_down, (1, 1, 5, 4)),
    "up": (conv.upsampling_conv, xla_up, (3, 3, 5, 4)),
    "transposed, on the CPU": (conv_cpu.transposed_conv, xla_transposed, (3, 3, 5, 4)),
    "same 3x3, on accelerators": (lambda x, k: conv_xla.conv(x, k, 1, 1), xla_same, (3, 3, 5, 4)),
    "down 3x3, on accelerators": (
        lambda x, k: conv_xla.conv(resample._blur_depthwise(x, (2, 2), 1), k, 2),
        xla_down,
        (3, 3, 5, 4),
    ),
    "down 1x1, on accelerators": (
        lambda x, k: conv_xla.conv(resample._blur_depthwise(x, (1, 1), 2), k),
        xla_down,
        (1, 1, 5, 4),
    ),
    "up, on accelerators": (conv._upsampling_xla, xla_up, (3, 3, 5, 4)),
    "padded and strided": (lambda x, k: conv.conv(x, k, 2, 1), xla_halves, (3, 3, 5, 4)),
    "padded and strided, of odd and even sides": (
        lambda x, k: conv.conv(x[:, 1:], k, 2, 1),
        lambda x, k: xla_halves(x[:, 1:], k),
        (3, 3, 5, 4),
    ),
    "padded and strided, on accelerators": (lambda x, k: conv_xla.conv(x, k, 2, 1), xla_halves, (3, 3, 5, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_xlas(name):
    ours, xla, shape = CASES[name]
    x, kernel = draw(2, 8, 6, 5), draw(*shape, seed=1)
    weight = draw(*ours(x, kernel).shape, seed=2)

    def loss(f):
        return jax.jit(jax.value_and_grad(lambda x, k: jnp.sum(f(x, k) * weight), argnums=(0, 1)))(x, kernel)

    np.testing.assert_allclose(ours(x, kernel), xla(x, kernel), atol=1e-5)
    for got, expected in zip(jax.tree.leaves(loss(ours)), jax.tree.leaves(loss(xla)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("upsample", [False, True])
def test_modulated_conv_equals_per_sample_kernels(upsample):
    """Its value, and its gradients with respect to map, kernel and style."""

    def per_sample(x, kernel, style):
        convolve = xla_up if upsample else xla_same
        own = kernel[None] * style[:, None, None, :, None]
        own = own / jnp.sqrt(jnp.sum(own**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
        return jnp.concatenate([convolve(x[i : i + 1], own[i]) for i in range(len(x))])

    inputs = draw(2, 6, 6, 5), draw(3, 3, 5, 4, seed=1), draw(2, 5, seed=2)
    got, pull = jax.vjp(lambda *inputs: conv.modulated_conv(*inputs, upsample=upsample), *inputs)
    expected, pull_expected = jax.vjp(per_sample, *inputs)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    dy = draw(*got.shape, seed=3)
    for ours, theirs in zip(pull(dy), pull_expected(dy), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if "transposed" not in name and "uneven" not in name])
def test_kernels_have_float32_gradients_of_bfloat16_maps(name):
    """Summed over pixels and samples in float32, and left in it: rounded sums would be added up over devices."""
    ours, xla, shape = CASES[name]
    x, kernel = draw(4, 16, 16, 5).astype(jnp.bfloat16), draw(*shape, seed=1)
    y, pull = jax.vjp(ours, x, kernel)
    dy = draw(*y.shape, seed=2).astype(jnp.bfloat16)
    dx, dk = pull(dy)
    assert (y.dtype, dx.dtype, dk.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)
    exact = jax.vjp(lambda k: xla(x.astype(jnp.float32), k), kernel)[1](dy.astype(jnp.float32))[0]
    error = jnp.linalg.norm(dk - exact) / jnp.linalg.norm(exact)
    assert error < 0.01, f"{error:.4f}: only maps are rounded, some of them twice, by 0.002 each"
    assert jnp.any(dk != dk.astype(jnp.bfloat16).astype(jnp.float32)), "the gradient was rounded"
