"""The start-code denoiser: a residual MLP on single codes, told the time by scale and shift (ours; the paper is silent)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from leo_jax.models.affine import KERNEL, ZEROS, Linear
from leo_jax.models.unet import time_embedding


class CodeMLP(nn.Module):
    """Predicts the noise in standardised codes (b, d) at step t; each frame's code is a sample of its own.

    Blocks of layer norm, scale and shift from the time embedding, SiLU and two linear layers are added to their input; the last
    layer of each, and the output, start at zero.
    """

    width: int = 512
    num_blocks: int = 4
    time_width: int = 128  # of the sinusoids
    dtype: DTypeLike = jnp.float32  # of the computation; parameters, norms and the output stay float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], t: Int[Array, " b"] | Float[Array, " b"]) -> Float[Array, "b d"]:
        """Gives the noise (b, d), float32, for noisy codes x and timesteps t, 0 … 999."""

        def dense(size, name, init=KERNEL):
            return Linear(size, self.dtype, init, name=name)

        embedding = nn.silu(dense(self.width, "time_embed_0")(time_embedding(t, self.time_width)))
        embedding = nn.silu(dense(self.width, "time_embed_1")(embedding))
        h = dense(self.width, "input")(x)
        for i in range(self.num_blocks):
            scale, shift = jnp.split(dense(2 * self.width, f"embed_{i}")(embedding), 2, -1)
            y = nn.LayerNorm(dtype=jnp.float32, name=f"norm_{i}")(h.astype(jnp.float32)).astype(self.dtype)
            y = nn.silu(y * (1 + scale) + shift)
            y = nn.silu(dense(self.width, f"in_{i}")(y))
            h = h + dense(self.width, f"out_{i}", ZEROS)(y)
        h = nn.LayerNorm(dtype=jnp.float32, name="out_norm")(h.astype(jnp.float32))
        return Linear(x.shape[-1], kernel_init=ZEROS, name="out")(nn.silu(h))
