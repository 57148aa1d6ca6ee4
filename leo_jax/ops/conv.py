"""Convolutions of the animator: XLA's own on accelerators (conv_xla), other forms on the CPU (conv_cpu).

An accelerator convolves with padding, strides and inserted zeros in one pass over the map, in both directions. Kernels are
(kh, kw, c_in, c_out), float32 parameters that are rounded to the map's type at use; their gradients are float32 sums.
Arrays are (b, h, w, c).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from leo_jax.ops import conv_cpu, conv_xla, resample
from leo_jax.ops.platforms import Form, by_platform


@functools.cache
def _conv(stride: int, padding: int) -> Form:
    return by_platform(
        lambda x, kernel: conv_xla.conv(x, kernel, stride, padding),
        cpu=lambda x, kernel: conv_cpu.padded_conv(x, kernel, stride, padding),
    )


def conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "p p i o"], stride: int = 1, padding: int = 0
) -> Float[Array, "b h2 w2 o"]:
    """Convolution of zero-padded x; h2 = (h + 2·padding - p) // stride + 1.

    A stride of 2 takes 3x3 kernels only, and where nothing is padded odd sizes only.
    """
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
    return resample.blur(conv_xla.conv(x, 4 * kernel[::-1, ::-1], 1, 2, 1), (1, 1))


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
    scale = lax.rsqrt(jnp.matmul(jnp.square(style), _power(kernel), precision="highest") + eps)
    return y * scale[:, None, None, :].astype(y.dtype)


@jax.custom_vjp
def _power(kernel: Float[Array, "p p i o"]) -> Float[Array, "i o"]:
    """Sum of the squared taps, one tap after the other: as a reduction XLA's CPU backend takes many times as long.

    Its gradient is that of the reduction, one product of the whole kernel; that of the taps would be put together from pieces.
    """
    return functools.reduce(jnp.add, (jnp.square(tap) for tap in kernel.reshape(-1, *kernel.shape[2:])))


_power.defvjp(lambda kernel: (_power(kernel), kernel), lambda kernel, dy: (2 * kernel * dy[None, None],))
