"""Layers in bfloat16 with float32 parameters: the values and gradients of float32 arithmetic, up to the inputs' rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from leo_jax.ops import affine, conv_xla

MAPS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}


def draw(seed, *shape):
    """Numbers that bfloat16 holds exactly, in float32."""
    values = np.random.default_rng(seed).normal(size=shape).astype(jnp.bfloat16)
    return jnp.asarray(values.astype(np.float32))


def exact(x, kernel, stride):
    axes = x.ndim - 2
    how = {"dimension_numbers": MAPS[x.ndim], "precision": "highest"}
    return lax.conv_general_dilated(x, kernel, (stride,) * axes, [(1, 1)] * axes, **how)


def check(function, reference, x, kernel):
    y, pull = jax.vjp(function, x.astype(jnp.bfloat16), kernel)
    expected, expected_pull = jax.vjp(reference, x, kernel)
    dy = draw(2, *expected.shape)
    (dx, dk), (expected_dx, expected_dk) = pull(dy.astype(jnp.bfloat16)), expected_pull(dy)
    assert (y.dtype, dx.dtype, dk.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-7, atol=2**-7)
    np.testing.assert_allclose(dx.astype(jnp.float32), expected_dx, rtol=2**-7, atol=2**-7)
    np.testing.assert_allclose(
        dk, expected_dk, rtol=1e-5, atol=1e-4, err_msg="the kernel's gradient is rounded on the way"
    )


@pytest.mark.parametrize("shape", [(5, 6), (3, 7, 6)])
def test_linear(shape):
    check(affine.linear, lambda x, k: jnp.matmul(x, k, precision="highest"), draw(0, *shape), draw(1, 6, 4))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sizes", [(8,), (2,), (7,), (8, 6), (2, 2), (1, 5)])
def test_convolution(sizes, stride):
    x, kernel = draw(0, 3, *sizes, 6), draw(1, *(3,) * len(sizes), 6, 4)
    check(lambda x, k: conv_xla.conv(x, k, stride, 1), lambda x, k: exact(x, k, stride), x, kernel)


def test_a_bias_gets_a_float32_sum():
    x = jnp.ones((4096, 3), jnp.bfloat16)  # summed in bfloat16, ones stop at 256
    y, pull = jax.vjp(affine.add_bias, x, jnp.arange(3.0))
    np.testing.assert_array_equal(y[0].astype(jnp.float32), [1, 2, 3])
    dx, db = pull(x)
    assert (dx.dtype, db.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(db, [4096] * 3)
