"""XLA's own convolution, over one or two axes, whose kernel's gradient leaves the float32 that it is summed in.

Kernels are (taps…, c_in, c_out), float32 parameters that are rounded to the input's type at use.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

_MAPS = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC")}
_GRADIENTS = {3: ("CWN", "IWO", "WNC"), 4: ("CHWN", "IHWO", "HWNC")}  # what is summed over takes the features' place


def precision_of(dtype: jnp.dtype) -> lax.Precision:
    """Full precision for float32 (a TPU would multiply in bfloat16 otherwise), the fast one for bfloat16."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


def convolve(x: Array, kernel: Array, stride: int = 1, padding: int = 0, zeros: int = 0) -> Array:
    """XLA's convolution of x, padded and with `zeros` between its samples, by the kernel in x's type; XLA's gradients."""
    axes = x.ndim - 2
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (stride,) * axes,
        [(padding, padding)] * axes,
        lhs_dilation=(zeros + 1,) * axes,
        dimension_numbers=_MAPS[x.ndim],
        precision=precision_of(x.dtype),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv(x: Array, kernel: Array, stride: int = 1, padding: int = 0, zeros: int = 0) -> Array:
    """As `convolve`; devices add the kernel's gradient in float32 too."""
    return convolve(x, kernel, stride, padding, zeros)


def _forward(x: Array, kernel: Array, *how: int) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, *how), (x, kernel)


def _backward(stride: int, padding: int, zeros: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: convolve(x, kernel, stride, padding, zeros), x)(dy)
    ends = [
        taps + stride * (after - 1) - (before - 1) * (zeros + 1) - 1 - padding
        for taps, before, after in zip(kernel.shape, x.shape[1:-1], dy.shape[1:-1], strict=False)
    ]
    axes = len(ends)
    dk = lax.conv_general_dilated(
        x,
        dy,
        (1,) * axes,
        [(padding, end) for end in ends],
        lhs_dilation=(zeros + 1,) * axes,
        rhs_dilation=(stride,) * axes,
        dimension_numbers=_GRADIENTS[x.ndim],
        precision=precision_of(x.dtype),
        preferred_element_type=jnp.float32,
    )
    return dx, dk.astype(kernel.dtype)


conv.defvjp(_forward, _backward)
