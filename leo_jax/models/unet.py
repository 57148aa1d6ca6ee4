"""The U-Net of improved diffusion (Nichol & Dhariwal 2021), for sequences (dims=1) and images (dims=2), channels last.

Blocks are named input_i_j, middle_j and output_i_j with the numbers that released state dicts use, so that the converter
is a table of names (leo_jax/convert/improved_diffusion.py).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from leo_jax.models.affine import ZEROS, Conv3, Linear
from leo_jax.ops.conv_xla import precision_of


def time_embedding(t: Int[Array, " b"] | Float[Array, " b"], width: int) -> Float[Array, "b w"]:
    """Sinusoids of t at frequencies 10000^(−i/(w/2)), the cosines first; an odd width ends in a zero."""
    half = width // 2
    frequencies = jnp.asarray(np.exp(-math.log(10000) * np.arange(half) / half), jnp.float32)
    angles = t.astype(jnp.float32)[:, None] * frequencies[None]
    waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)
    return jnp.pad(waves, ((0, 0), (0, width % 2)))


class GroupNorm(nn.Module):
    """Group norm in float32, eps 1e-5, with a learned scale and bias per channel; gives the dtype it was given."""

    groups: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes c"]) -> Float[Array, " b *axes c"]:
        """Normalises each of `groups` blocks of channels over positions and channels. Raises unless they divide c."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"{channels} channels cannot be split into {self.groups} groups: choose a width they divide"
            )
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", ZEROS, (channels,))
        y = x.astype(jnp.float32).reshape(x.shape[0], -1, channels)

        def over_groups(per_channel):  # (b, c)
            mean = per_channel.reshape(-1, self.groups, channels // self.groups).mean(-1)
            return jnp.repeat(mean, channels // self.groups, -1)

        # Over positions first, then over a group's channels; one factor and one term a channel: each is quicker on a CPU.
        mean = over_groups(y.mean(1))
        variance = over_groups(jnp.square(y - mean[:, None]).mean(1))
        factor = scale[None] * jax.lax.rsqrt(variance + 1e-5)
        term = bias[None] - mean * factor
        return (y * factor[:, None] + term[:, None]).reshape(x.shape).astype(x.dtype)


class ResBlock(nn.Module):
    """norm, SiLU, conv; the embedding as scale and shift after the second norm (or added before it); SiLU, conv; + skip."""

    features: int
    groups: int = 32
    scale_shift: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes c"], embedding: Float[Array, "b e"]) -> Float[Array, " b *axes k"]:
        """Gives (b, ..., features) for x and the embedding of time and condition."""
        dims = x.ndim - 2
        h = nn.silu(GroupNorm(self.groups, name="norm_in")(x))
        h = Conv3(self.features, dtype=self.dtype, name="conv_in")(h)
        size = self.features * (2 if self.scale_shift else 1)
        e = Linear(size, self.dtype, name="embed")(nn.silu(embedding))
        e = e.reshape(e.shape[0], *(1,) * dims, size)
        norm = GroupNorm(self.groups, name="norm_out")
        if self.scale_shift:
            scale, shift = jnp.split(e, 2, -1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + e)
        # The last convolution starts at zero: a new block is its skip.
        h = Conv3(self.features, dtype=self.dtype, kernel_init=ZEROS, name="conv_out")(nn.silu(h))
        if x.shape[-1] != self.features:
            x = Linear(self.features, self.dtype, name="skip")(x)
        return x + h


class Attention(nn.Module):
    """Self-attention over all positions; channels split into heads first, then each head's into q, k, v."""

    num_heads: int
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes c"]) -> Float[Array, " b *axes c"]:
        """Adds what each position gathers from all. Raises ValueError unless the heads divide the channels."""
        batch, channels = x.shape[0], x.shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                f"{channels} channels cannot be split into {self.num_heads} heads: choose num_heads to divide"
            )
        h = GroupNorm(self.groups, name="norm")(x).reshape(batch, -1, channels)
        h = Linear(3 * channels, self.dtype, name="qkv")(h)
        q, k, v = jnp.split(h.reshape(batch, -1, self.num_heads, 3 * channels // self.num_heads), 3, -1)
        # Both sides scaled before the product keeps it in bf16's comfortable range.
        scale = (channels // self.num_heads) ** -0.25
        precision = precision_of(h.dtype)
        weight = jnp.einsum(
            "bqhc,bkhc->bhqk", q * scale, k * scale, precision=precision, preferred_element_type=jnp.float32
        )
        weight = nn.softmax(weight, -1).astype(self.dtype)
        h = jnp.einsum("bhqk,bkhc->bqhc", weight, v, precision=precision).reshape(x.shape)
        return x + Linear(channels, self.dtype, ZEROS, name="out")(h)


class Downsample(nn.Module):
    """Halves every axis: a convolution of stride 2, or a mean of 2 without one."""

    use_conv: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes c"]) -> Float[Array, " b *halves c"]:
        """Gives x at half the size."""
        dims = x.ndim - 2
        if self.use_conv:
            return Conv3(x.shape[-1], stride=2, dtype=self.dtype, name="conv")(x)
        batch, *sizes, channels = x.shape
        pairs = [n for size in sizes for n in (size // 2, 2)]
        return x.reshape(batch, *pairs, channels).mean(tuple(range(2, 2 + 2 * dims, 2)))


class Upsample(nn.Module):
    """Doubles every axis by repetition, then a convolution, or none."""

    use_conv: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, " b *axes c"]) -> Float[Array, " b *doubles c"]:
        """Gives x at twice the size."""
        for axis in range(1, x.ndim - 1):
            x = jnp.repeat(x, 2, axis)
        return Conv3(x.shape[-1], dtype=self.dtype, name="conv")(x) if self.use_conv else x


class UNet(nn.Module):
    """Predicts the noise in x (b, t, c) or (b, h, w, c) at step t, optionally given a vector or a class.

    The defaults are the network of the motion model (64 codes of 20; 44 356 756 parameters). For images set dims=2, and
    multipliers and attention by the resolution: (1, 2, 3, 4) at 64 px, (1, 1, 2, 3, 4) at 128, (1, 1, 2, 2, 4, 4) at 256.
    """

    out_channels: int = 20
    dims: int = 1
    width: int = 128  # channels at the top; a multiple of `groups`
    multipliers: tuple[int, ...] = (1, 2, 3, 4)  # of the width, one a level; each level halves the size
    num_blocks: int = 2  # residual blocks a level on the way down; one more on the way up
    attention: tuple[int, ...] = (4, 8)  # downsampling factors with attention: 4 and 8 are lengths 16 and 8 of 64
    num_heads: int = 4
    groups: int = 32
    scale_shift: bool = True  # the embedding scales and shifts; False: it is added
    conv_resample: bool = True
    condition_dim: int | None = None  # size of an extra condition vector, embedded and added to the time embedding
    num_classes: int | None = None
    remat: bool = False  # recompute blocks in the backward pass: less memory, a third more work
    dtype: DTypeLike = jnp.float32  # of the computation; parameters, norms, softmax and the output stay float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, " b *axes c"],
        t: Int[Array, " b"] | Float[Array, " b"],
        condition: Float[Array, "b d"] | None = None,
        labels: Int[Array, " b"] | None = None,
    ) -> Float[Array, " b *axes k"]:
        """Predicts the noise (b, ..., out_channels), float32.

        Args:
          x: noisy sequences or images; every axis a multiple of 2^(levels − 1).
          t: the timesteps, 0 … 999.
          condition: vectors (b, condition_dim); given if and only if the network has that field.
          labels: class indices; given if and only if the network has `num_classes`.

        Raises:
          ValueError: another number of axes, a size that cannot be halved often enough, a condition or labels missing
            or unasked for.
        """
        self._check(x, condition, labels)
        block = nn.remat(ResBlock) if self.remat else ResBlock
        attend = nn.remat(Attention) if self.remat else Attention

        embedding = self._embed(t, condition, labels)

        def stage(h, channels, factor, name):
            h = block(channels, self.groups, self.scale_shift, self.dtype, name=f"{name}_0")(h, embedding)
            if factor in self.attention:
                h = attend(self.num_heads, self.groups, self.dtype, name=f"{name}_1")(h)
            return h

        h = Conv3(self.width, dtype=self.dtype, name="input_0_0")(x.astype(self.dtype))
        skips = [h]
        for level, multiplier in enumerate(self.multipliers):
            if level:
                h = Downsample(self.conv_resample, self.dtype, name=f"input_{len(skips)}_0")(h)
                skips.append(h)
            for _ in range(self.num_blocks):
                h = stage(h, multiplier * self.width, 2**level, f"input_{len(skips)}")
                skips.append(h)

        h = block(h.shape[-1], self.groups, self.scale_shift, self.dtype, name="middle_0")(h, embedding)
        h = attend(self.num_heads, self.groups, self.dtype, name="middle_1")(h)
        h = block(h.shape[-1], self.groups, self.scale_shift, self.dtype, name="middle_2")(h, embedding)

        index = 0
        for level, multiplier in reversed(list(enumerate(self.multipliers))):
            for _ in range(self.num_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], -1)
                h = stage(h, multiplier * self.width, 2**level, f"output_{index}")
                index += 1
            if level:
                place = 2 if 2**level in self.attention else 1  # after the block, and its attention if it has one
                h = Upsample(self.conv_resample, self.dtype, name=f"output_{index - 1}_{place}")(h)

        h = nn.silu(GroupNorm(self.groups, name="out_norm")(h.astype(jnp.float32)))
        return Conv3(self.out_channels, kernel_init=ZEROS, name="out_conv")(h)

    def _embed(self, t, condition, labels):
        """Embedding of time, condition and class (b, 4·width)."""
        size = 4 * self.width

        def mlp(vector, name):
            first = Linear(size, self.dtype, name=f"{name}_0")
            second = Linear(size, self.dtype, name=f"{name}_1")
            return second(nn.silu(first(vector)))

        embedding = mlp(time_embedding(t, self.width), "time_embed")
        if condition is not None:
            embedding = embedding + mlp(condition, "condition_embed")
        if labels is not None:
            normal = nn.initializers.normal(1.0)
            embed = nn.Embed(self.num_classes, size, dtype=self.dtype, embedding_init=normal, name="label_embed")
            embedding = embedding + embed(labels)
        return embedding

    def _check(self, x, condition, labels):
        if x.ndim != self.dims + 2:
            raise ValueError(
                f"x has shape {x.shape}: a U-Net of dims={self.dims} wants {self.dims + 2} axes, channels last"
            )
        factor = 2 ** (len(self.multipliers) - 1)
        if any(size % factor for size in x.shape[1:-1]):
            raise ValueError(
                f"x has size {x.shape[1:-1]}; {len(self.multipliers)} levels need multiples of {factor}: pad x, or use fewer"
            )
        size = None if condition is None else condition.shape[-1]
        if size != self.condition_dim:
            raise ValueError(f"the condition has size {size}; condition_dim={self.condition_dim} wants exactly that")
        if (labels is None) != (self.num_classes is None):
            raise ValueError(
                f"labels are {'missing' if labels is None else 'given'}; num_classes is {self.num_classes}"
            )
