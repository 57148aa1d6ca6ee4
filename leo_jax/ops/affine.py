"""Linear layers whose parameters stay float32 and get float32 gradients in any type of input; convolutions are in conv_xla.

A product's gradient with respect to its kernel is a sum over the batch, also over devices. Rounded parameters would have it
rounded before devices add theirs; here it leaves the float32 that the sum is made in.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from leo_jax.ops.conv_xla import precision_of


@jax.custom_vjp
def linear(x: Float[Array, "*dims i"], kernel: Float[Array, "i o"]) -> Float[Array, "*dims o"]:
    """Gives x @ kernel in x's type; the kernel's gradient in its own, summed in float32."""
    return jnp.matmul(x, kernel.astype(x.dtype), precision=precision_of(x.dtype))


def _linear_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return linear(x, kernel), (x, kernel)


def _linear_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows = (tuple(range(x.ndim - 1)),) * 2
    precision = precision_of(x.dtype)
    dk = lax.dot_general(x, dy, (rows, ((), ())), precision=precision, preferred_element_type=jnp.float32)
    return jnp.matmul(dy, kernel.T.astype(dy.dtype), precision=precision), dk.astype(kernel.dtype)


linear.defvjp(_linear_forward, _linear_backward)


@jax.custom_vjp
def add_bias(x: Float[Array, "*dims c"], bias: Float[Array, " c"]) -> Float[Array, "*dims c"]:
    """Gives x + bias in x's type; the bias's gradient in its own, summed in float32."""
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _add_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    return add_bias(x, bias), bias


def _add_backward(bias: Array, dy: Array) -> tuple[Array, Array]:
    return dy, jnp.sum(dy.astype(jnp.float32), axis=tuple(range(dy.ndim - 1))).astype(bias.dtype)


add_bias.defvjp(_add_forward, _add_backward)
