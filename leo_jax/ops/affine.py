"""Linear layers and convolutions of three taps in a short type, whose parameters stay float32 and get float32 gradients.

A product's gradient with respect to its kernel is a sum over the batch, also over devices. Rounded parameters would have it
rounded before devices add theirs; here it leaves the float32 that the sum is made in.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_MAPS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}
_GRADIENTS = {3: ("CWN", "IWO", "WNC"), 4: ("CHWN", "IHWO", "HWNC")}  # what is summed over takes the features' place


@jax.custom_vjp
def linear(x: Float[Array, "*dims i"], kernel: Float[Array, "i o"]) -> Float[Array, "*dims o"]:
    """Gives x @ kernel in x's type; the kernel's gradient in its own, summed in float32."""
    return jnp.matmul(x, kernel.astype(x.dtype))


def _linear_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return linear(x, kernel), (x, kernel)


def _linear_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows = (tuple(range(x.ndim - 1)),) * 2
    dk = lax.dot_general(x, dy, (rows, ((), ())), preferred_element_type=jnp.float32)
    return jnp.matmul(dy, kernel.T.astype(dy.dtype)), dk.astype(kernel.dtype)


linear.defvjp(_linear_forward, _linear_backward)


def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    axes = x.ndim - 2
    return lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (stride,) * axes, [(1, 1)] * axes, dimension_numbers=_MAPS[x.ndim]
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3(
    x: Float[Array, " b *axes i"], kernel: Float[Array, " *taps i o"], stride: int = 1
) -> Float[Array, " b *axes2 o"]:
    """Convolution of one or two axes with three taps each, padded by 1, in x's type; the kernel's gradient as `linear`'s."""
    return _convolve(x, kernel, stride)


def _conv3_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return conv3(x, kernel, stride), (x, kernel)


def _conv3_backward(stride: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: _convolve(x, kernel, stride), x)(dy)
    sizes = zip(x.shape[1:-1], dy.shape[1:-1], strict=True)
    dk = lax.conv_general_dilated(
        x,
        dy,
        (1,) * (x.ndim - 2),
        [(1, stride * (after - 1) + 2 - before) for before, after in sizes],  # so that three taps come out
        rhs_dilation=(stride,) * (x.ndim - 2),
        dimension_numbers=_GRADIENTS[x.ndim],
        preferred_element_type=jnp.float32,
    )
    return dx, dk.astype(kernel.dtype)


conv3.defvjp(_conv3_forward, _conv3_backward)


@jax.custom_vjp
def add_bias(x: Float[Array, "*dims c"], bias: Float[Array, " c"]) -> Float[Array, "*dims c"]:
    """Gives x + bias in x's type; the bias's gradient in its own, summed in float32."""
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _add_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    return add_bias(x, bias), bias


def _add_backward(bias: Array, dy: Array) -> tuple[Array, Array]:
    return dy, jnp.sum(dy.astype(jnp.float32), axis=tuple(range(dy.ndim - 1))).astype(bias.dtype)


add_bias.defvjp(_add_forward, _add_backward)
