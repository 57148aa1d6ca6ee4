"""The orthonormal motion basis."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def orthonormal(matrix: Float[Array, "s d"], eps: float = 1e-8) -> Float[Array, "s d"]:
    """Q of the reduced QR decomposition of `matrix + eps` (SPEC §1, directions), s >= d.

    Householder reflections with LAPACK's sign convention (the reflected pivot has the opposite sign of the pivot), in
    elementwise float32 products and sums: no matrix product, so the result depends neither on the platform's own QR nor
    on its matmul precision. Released checkpoints depend on the signs.
    """
    matrix = matrix.astype(jnp.float32) + eps
    rows = jnp.arange(matrix.shape[0])
    columns = jnp.arange(matrix.shape[1])

    def reflect(v: Array, x: Array) -> Array:
        return x - 2 * v[:, None] * jnp.sum(v[:, None] * x, axis=0)[None, :]

    def eliminate(r: Array, j: Array) -> tuple[Array, Array]:
        x = jnp.where(rows >= j, jnp.sum(jnp.where(columns[None, :] == j, r, 0.0), axis=1), 0.0)
        pivot = jnp.sum(jnp.where(rows == j, x, 0.0))
        reflected = -jnp.copysign(jnp.sqrt(jnp.sum(x * x)), pivot)
        v = x - jnp.where(rows == j, reflected, 0.0)
        v = v / jnp.sqrt(jnp.sum(v * v))
        return reflect(v, r), v

    _, reflectors = jax.lax.scan(eliminate, matrix, columns)
    start = jnp.eye(matrix.shape[0], matrix.shape[1], dtype=jnp.float32)
    q, _ = jax.lax.scan(lambda q, v: (reflect(v, q), None), start, reflectors, reverse=True)
    return q
