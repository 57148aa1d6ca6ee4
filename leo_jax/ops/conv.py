"""Convolutions of the animator: XLA's own on accelerators, other forms on the CPU (conv_cpu).

An accelerator convolves with padding, strides and inserted zeros in one pass over the map, in both directions. Kernels are
(kh, kw, c_in, c_out), float32 parameters that are rounded to the map's type at use; their gradients are float32 sums.
Arrays are (b, h, w, c).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from leo_jax.ops import conv_cpu, resample
from leo_jax.ops.conv_cpu import convolve, precision_of
from leo_jax.ops.platforms import Form, by_platform


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def xla(x: Array, kernel: Array, stride: int = 1, padding: int = 0, zeros: int = 0) -> Array:
    """XLA's convolution; `zeros` are inserted between the pixels of x."""
    return convolve(x, kernel, stride, padding, zeros)


def _xla_forward(x: Array, kernel: Array, *how: int) -> tuple[Array, tuple[Array, Array]]:
    return xla(x, kernel, *how), (x, kernel)


def _xla_backward(stride: int, padding: int, zeros: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """XLA's own derivatives, but the kernel's leaves the float32 that it is summed in, also to other devices."""
    x, kernel = saved
    (dx,) = jax.linear_transpose(lambda x: convolve(x, kernel, stride, padding, zeros), x)(dy)
    size = kernel.shape[0]
    ends = [
        size + stride * (after - 1) - (before - 1) * (zeros + 1) - 1 - padding
        for before, after in zip(x.shape[1:3], dy.shape[1:3], strict=True)
    ]
    dk = lax.conv_general_dilated(
        x,
        dy,
        (1, 1),
        [(padding, end) for end in ends],
        lhs_dilation=(zeros + 1, zeros + 1),
        rhs_dilation=(stride, stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),  # of x: pixels summed over take the features' place
        precision=precision_of(x.dtype),
        preferred_element_type=jnp.float32,
    )
    return dx, dk.astype(kernel.dtype)


xla.defvjp(_xla_forward, _xla_backward)


@functools.cache
def _conv(stride: int, padding: int) -> Form:
    return by_platform(
        lambda x, kernel: xla(x, kernel, stride, padding),
        cpu=lambda x, kernel: conv_cpu.padded_conv(x, kernel, stride, padding),
    )


def conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "p p i o"], stride: int = 1, padding: int = 0
) -> Float[Array, "b h2 w2 o"]:
    """Convolution of zero-padded x; h2 = (h + 2·padding - p) // stride + 1. A stride of 2 takes 3x3 kernels on odd sizes only."""
    return _conv(stride, padding)(x, kernel)


def same_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "p p i o"]) -> Float[Array, "b h w o"]:
    """Stride-1 convolution with an odd kernel, zero-padded to keep the size."""
    return conv(x, kernel, padding=kernel.shape[0] // 2)


def downsampling_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "p p i o"]) -> Float[Array, "b h//2 w//2 o"]:
    """Blur, then stride-2 convolution: 3x3 with blur padding (2, 2), or 1x1 with (1, 1), where only kept pixels are blurred."""
    if kernel.shape[0] == 1:
        return conv(resample.blur(x, (1, 1), stride=2), kernel)
    return conv(resample.blur(x, (2, 2)), kernel, stride=2)


def _upsampling_xla(x: Array, kernel: Array) -> Array:
    return resample.blur(xla(x, 4 * kernel[::-1, ::-1], 1, 2, 1), (1, 1))


_upsampling = by_platform(_upsampling_xla, cpu=conv_cpu.upsampling_conv)


def upsampling_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h 2*w o"]:
    """Stride-2 transposed 3x3 convolution (out[2i + k] += x[i] @ kernel[k]), then blur of gain 4 with padding (1, 1)."""
    return _upsampling(x, kernel)


def modulated_conv(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "p p i o"],
    style: Float[Array, "b i"],
    *,
    demodulate: bool = True,
    upsample: bool = False,
    eps: float = 1e-8,
) -> Float[Array, "b h2 w2 o"]:
    """StyleGAN2's modulated convolution without per-sample kernels: scale inputs, shared kernel, scale outputs.

    The scale factors are computed in float32; the convolution in x's type.
    """
    x = x * style[:, None, None, :].astype(x.dtype)
    y = (upsampling_conv if upsample else same_conv)(x, kernel)
    if not demodulate:
        return y
    power = jnp.sum(jnp.square(kernel), axis=(0, 1))
    scale = lax.rsqrt(jnp.matmul(jnp.square(style), power, precision="highest") + eps)
    return y * scale[:, None, None, :].astype(y.dtype)
