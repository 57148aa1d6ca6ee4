"""Layers of the denoisers: linear ones and convolutions of three taps, named and begun as PyTorch's.

Float32 is multiplied in full precision on every device, as the animator's.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from leo_jax.ops import affine, conv, conv_xla

Init = nn.initializers.Initializer
# PyTorch's default for linear and convolution kernels: uniform, variance 1/(3·fan_in).
KERNEL: Init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
ZEROS: Init = nn.initializers.zeros_init()
# Positions of all sequences together, up to which a 1-D convolution is quicker on a CPU as a matrix product: CPU time of the
# motion model's forward pass falls by 17 % at batch 1 and by 14 % at batch 4, and would rise at batch 64.
FEW_ROWS = 512


class Linear(nn.Module):
    """A linear layer at every position, computed in `dtype`; parameters and their gradients are float32."""

    features: int
    dtype: DTypeLike = jnp.float32
    kernel_init: Init = KERNEL

    @nn.compact
    def __call__(self, x: Float[Array, "*dims i"]) -> Float[Array, "*dims features"]:
        """Gives (..., features)."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", ZEROS, (self.features,))
        return affine.add_bias(affine.linear(x.astype(self.dtype), kernel), bias)


class Conv3(nn.Module):
    """A convolution of 3 taps an axis, padded by 1 on both sides of each (also where the stride is 2); else as `Linear`."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    kernel_init: Init = KERNEL

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes i"]) -> Float[Array, " b *axes2 features"]:
        """Gives (b, ..., features), each axis divided by the stride."""
        kernel = self.param("kernel", self.kernel_init, (*(3,) * (x.ndim - 2), x.shape[-1], self.features))
        bias = self.param("bias", ZEROS, (self.features,))
        x = x.astype(self.dtype)
        y = _convolve(x, kernel, self.stride) if x.dtype == jnp.float32 else conv_xla.conv(x, kernel, self.stride, 1)
        return affine.add_bias(y, bias)


def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Float32; on the CPU images as the animator's, short sequences as one matrix product of the three taps side by side."""
    if x.ndim == 4:
        return conv.conv(x, kernel, stride, 1)
    length = x.shape[1] // stride
    convolve = functools.partial(conv_xla.convolve, stride=stride, padding=1)
    if x.shape[1] % stride or x.shape[0] * length > FEW_ROWS:
        return convolve(x, kernel)

    def multiply(x: Array, kernel: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        taps = [lax.slice_in_dim(x, i, i + stride * (length - 1) + 1, stride, axis=1) for i in range(3)]
        rows = jnp.concatenate(taps, -1).reshape(x.shape[0] * length, -1)
        y = jnp.matmul(rows, kernel.reshape(-1, kernel.shape[-1]), precision="highest")
        return y.reshape(x.shape[0], length, -1)

    return jax.lax.platform_dependent(x, kernel, cpu=multiply, default=convolve)
