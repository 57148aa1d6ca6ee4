"""The StyleGAN2 residual discriminator with a minibatch statistic that does not depend on the number of devices."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.layers import SMALLEST, Conv, Dtype, EqualLinear, ResidualTrunk, activate, channels_at

BLOCK = 8  # samples: the original saw 8 images per GPU; ours: its rule within blocks of 8 of the global batch
GROUP = 4


def minibatch_deviation(x: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Mean standard deviation of the group a sample belongs to, as one more feature (SPEC §1, discriminator).

    The batch is cut into blocks of 8 consecutive samples (the last may be shorter). In a block of B samples, sample i
    belongs to group i mod (B / g), g = min(B, 4). Float32; raises if a block cannot be divided into its groups.
    """
    b, h, w, c = x.shape

    def of_blocks(blocks: Float[Array, "n k h w c"]) -> Float[Array, " m"]:
        n, k = blocks.shape[:2]
        g = min(k, GROUP)
        if k % g:
            raise ValueError(
                f"{k} samples (the last of a batch of {b}) cannot form groups of {g}: use a multiple of {BLOCK}, or 1-4"
            )
        y = blocks.astype(jnp.float32).reshape(n, g, k // g, h, w, c)
        deviation = jnp.sqrt(jnp.var(y, axis=1) + 1e-8).mean(axis=(2, 3, 4))
        return jnp.broadcast_to(deviation[:, None, :], (n, g, k // g)).reshape(n * k)

    whole = b // BLOCK * BLOCK
    parts = [of_blocks(x[:whole].reshape(-1, BLOCK, h, w, c))] if whole else []
    parts += [of_blocks(x[whole:][None])] if b > whole else []
    return jnp.broadcast_to(jnp.concatenate(parts)[:, None, None, None], (b, h, w, 1)).astype(x.dtype)


class Discriminator(nn.Module):
    """images (b, size, size, 3) in [-1, 1] → logits (b,), float32: high for real."""

    size: int = 256
    width: float = 1.0
    dtype: Dtype = jnp.float32
    remat: bool = False  # keep only the blocks' inputs for the backward pass

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        channels = channels_at(self.size, self.width)
        x = ResidualTrunk(channels, self.dtype, self.remat, name="trunk")(images)[SMALLEST]
        x = jnp.concatenate([x, minibatch_deviation(x)], axis=-1)
        x = Conv(channels[SMALLEST], 3, dtype=self.dtype, name="conv")(x)
        x = jnp.moveaxis(x, 3, 1).reshape(x.shape[0], -1)  # (c, h, w): the order released checkpoints flatten in
        x = EqualLinear(channels[SMALLEST], name="linear")(x)
        bias = jnp.zeros((channels[SMALLEST],), jnp.float32)
        return EqualLinear(1, name="logit")(activate(x, bias))[:, 0]
