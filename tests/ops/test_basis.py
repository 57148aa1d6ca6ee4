"""The motion basis: LAPACK's Q, signs included, whatever the platform multiplies in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.ops.basis import orthonormal


def draw(s=512, d=20, seed=0):
    return np.random.default_rng(seed).standard_normal((s, d)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_is_lapacks_q(seed):
    matrix = draw(seed=seed)
    expected, _ = np.linalg.qr(matrix.astype(np.float64) + 1e-8)
    np.testing.assert_allclose(orthonormal(jnp.asarray(matrix)), expected, atol=2e-6)


@pytest.mark.parametrize("default", ["bfloat16", "tensorfloat32", "highest"])
def test_columns_are_orthonormal_under_any_matmul_default(default):
    with jax.default_matmul_precision(default):
        q = np.asarray(jax.jit(orthonormal)(jnp.asarray(draw())), np.float64)
    np.testing.assert_allclose(q.T @ q, np.eye(20), atol=2e-6)


def test_contains_no_matrix_product():
    text = str(jax.make_jaxpr(orthonormal)(jnp.asarray(draw(64, 8))))
    assert "dot_general" not in text and "householder" not in text and "geqrf" not in text, (
        "a platform's own product or QR could round or flip signs"
    )


def test_gradient_is_that_of_the_decomposition():
    matrix, weight = jnp.asarray(draw(16, 4)), jnp.asarray(draw(16, 4, seed=1))
    ours = jax.grad(lambda m: jnp.sum(orthonormal(m) * weight))(matrix)
    reference = jax.grad(lambda m: jnp.sum(jnp.linalg.qr(m + 1e-8)[0] * weight))(matrix)
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4)
