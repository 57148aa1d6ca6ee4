"""The animator's encoder: an image's style vector, its feature maps for warping, and its motion code."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.layers import SMALLEST, Conv, Dtype, EqualLinear, ResidualTrunk


class Encoder(nn.Module):
    """images → (style vector w (b, s) float32, features by resolution 8 … size px) (SPEC §1, encoder)."""

    channels: Mapping[int, int]
    style_dim: int = 512
    dtype: Dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b s"], dict[int, jax.Array]]:
        features = ResidualTrunk(self.channels, self.dtype, self.remat, name="trunk")(images)
        smallest = features.pop(SMALLEST)
        style = Conv(self.style_dim, SMALLEST, activation=False, valid=True, dtype=self.dtype, name="to_style")(
            smallest
        )
        return style[:, 0, 0, :].astype(jnp.float32), features


class CodeHead(nn.Module):
    """Style vector → motion code alpha: five equalised linear layers without activations between (SPEC §1, code head)."""

    code_dim: int = 20
    depth: int = 5

    @nn.compact
    def __call__(self, style: Float[Array, "b s"]) -> Float[Array, "b d"]:
        x = style
        for i in range(self.depth - 1):
            x = EqualLinear(style.shape[-1], name=f"linear_{i}")(x)
        return EqualLinear(self.code_dim, name=f"linear_{self.depth - 1}")(x)
