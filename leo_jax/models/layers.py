"""Layers that the animator's networks share: equalised learning rate, the activation, residual blocks.

Parameters are float32 and drawn from N(0, 1); `dtype` is the type of the arithmetic on feature maps.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from leo_jax.ops import conv as ops

Dtype = Any
SMALLEST = 4  # px, where encoder and discriminator end and the generator begins
WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32}


def channels_at(size: int, width: float = 1.0) -> dict[int, int]:
    """Feature channels by resolution, 4 … `size` px, times the width multiplier; raises on sizes that are no power of two."""
    if size not in WIDTHS or size < 8:
        raise ValueError(f"size {size} px is not one of {[r for r in WIDTHS if r >= 8]}")
    return {r: scaled(c, width) for r, c in WIDTHS.items() if r <= size}


def scaled(channels: int, width: float) -> int:
    """`channels` times the width multiplier, a whole number of at least 4."""
    return max(4, round(channels * width))


SLOPE, GAIN = 0.2, float(np.sqrt(2))


@jax.custom_vjp
def activate(x: Float[Array, "*dims c"], bias: Float[Array, " c"]) -> Float[Array, "*dims c"]:
    """sqrt(2) * leaky_relu(x + bias, 0.2), in float32, given in x's type.

    For its gradient only the result is kept, which the next layer keeps anyway; the bias's is a float32 sum.
    """
    y = x.astype(jnp.float32) + bias.reshape((1,) * (x.ndim - 1) + (-1,))
    return (nn.leaky_relu(y, SLOPE) * GAIN).astype(x.dtype)


def _activate_forward(x: Array, bias: Array) -> tuple[Array, Array]:
    y = activate(x, bias)
    return y, y


def _activate_backward(y: Array, dy: Array) -> tuple[Array, Array]:
    dx = dy.astype(jnp.float32) * jnp.where(y >= 0, GAIN, SLOPE * GAIN)
    return dx.astype(dy.dtype), jnp.sum(dx, axis=tuple(range(dx.ndim - 1)))


activate.defvjp(_activate_forward, _activate_backward)


class EqualLinear(nn.Module):
    """x @ (kernel / sqrt(fan_in)) + bias, in float32 at full precision: styles and codes are small and must be exact."""

    features: int
    bias_init: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        kernel = self.param("kernel", nn.initializers.normal(1.0), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,))
        x = jnp.matmul(x.astype(jnp.float32), kernel * (1 / np.sqrt(x.shape[-1])), precision="highest")
        return x + bias[None, :]


class Conv(nn.Module):
    """Equalised convolution, then bias and activation unless `activation` is off (then neither).

    `down` blurs and halves the resolution. `valid` drops the padding.
    """

    features: int
    kernel_size: int
    down: bool = False
    activation: bool = True
    valid: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        kernel = kernel * (1 / np.sqrt(np.prod(shape[:3])))
        apply = ops.downsampling_conv if self.down else ops.conv if self.valid else ops.same_conv
        x = apply(x.astype(self.dtype), kernel)
        return activate(x, self.param("bias", nn.initializers.zeros, (self.features,))) if self.activation else x


class ResidualBlock(nn.Module):
    """(conv3x3 → blur, stride-2 conv3x3) + (blur, stride-2 conv1x1), the sum divided by sqrt(2). Halves the resolution."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h//2 w//2 o"]:
        y = Conv(x.shape[-1], 3, dtype=self.dtype, name="conv1")(x)
        y = Conv(self.features, 3, down=True, dtype=self.dtype, name="conv2")(y)
        skip = Conv(self.features, 1, down=True, activation=False, dtype=self.dtype, name="skip")(x)
        return (y + skip) * jnp.asarray(1 / np.sqrt(2), x.dtype)


class ResidualTrunk(nn.Module):
    """What encoder and discriminator share: 1×1 convolution to the top width, residual blocks down to 4 px.

    `remat` keeps only the blocks' inputs for the backward pass, and computes the rest again.
    """

    channels: Mapping[int, int]
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> dict[int, jax.Array]:
        """The features by resolution, from the images' size down to 4 px."""
        size = images.shape[1]
        block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
        x = Conv(self.channels[size], 1, dtype=self.dtype, name="from_rgb")(images)
        features = {size: x}
        while size > SMALLEST:
            size //= 2
            x = block(self.channels[size], dtype=self.dtype, name=f"block_{size}")(x)
            features[size] = x
        return features
