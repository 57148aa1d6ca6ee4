"""The animator: encoder, code head, motion basis and generator under one roof (LIA; SPEC §1)."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.encoder import CodeHead, Encoder
from leo_jax.models.generator import Frames, Generator
from leo_jax.models.layers import Dtype, channels_at, scaled
from leo_jax.ops.basis import orthonormal


class Animator(nn.Module):
    """source, driving → the source person in the driving frame's pose.

    Images are float in [-1, 1] and (size, size); size is 8 … 512 px, a power of two. `width` scales every channel count and
    the style width (1 in a faithful model). Parameters are float32; `dtype` is the arithmetic of the feature maps. `remat`
    keeps only the blocks' inputs for the backward pass: less memory, a third more arithmetic, the same numbers.
    """

    size: int = 256
    width: float = 1.0
    code_dim: int = 20
    dtype: Dtype = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        """Names the parts: encoder, code_head, directions, generator."""
        channels = channels_at(self.size, self.width)
        style_dim = scaled(512, self.width)
        self.encoder = Encoder(channels, style_dim, self.dtype, self.remat)
        self.code_head = CodeHead(self.code_dim)
        self.generator = Generator(channels, self.dtype, self.remat)
        self.directions = self.param("directions", nn.initializers.normal(1.0), (style_dim, self.code_dim))

    def encode(self, images: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b s"], dict[int, jax.Array]]:
        """Style vectors w and the features that the generator warps, by resolution."""
        return self.encoder(images)

    def code_of(self, style: Float[Array, "b s"]) -> Float[Array, "b d"]:
        """Motion codes alpha of style vectors."""
        return self.code_head(style)

    def codes(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Motion codes alpha = E(x)."""
        return self.code_head(self.encoder(images)[0])

    def basis(self) -> Float[Array, "s d"]:
        """The orthonormal motion directions Q."""
        return orthonormal(self.directions)

    def motion(self, codes: Float[Array, "b d"]) -> Float[Array, "b s"]:
        """Alpha @ Q.T: what is added to w(source)."""
        return jnp.matmul(codes, self.basis().T, precision="highest")

    def decode(self, latent: Float[Array, "b s"], features: Mapping[int, Array]) -> Frames:
        """Draws frames from latents z = w(source) + motion and the source's features (batch 1 or b)."""
        return self.generator(latent, features)

    def __call__(
        self,
        source: Float[Array, "b h w 3"],
        driving: Float[Array, "b h w 3"],
        start: Float[Array, "b h w 3"] | None = None,
    ) -> Frames:
        """Animates `source` by `driving`; relative mode if `start`, a frame of the driving clip, is given.

        z = w(source) + alpha(driving) @ Q.T, or with alpha(driving) - alpha(start) + alpha(source) (SPEC §1, latent).
        """
        style, features = self.encode(source)
        codes = self.codes(driving)
        if start is not None:
            codes = codes - self.codes(start) + self.code_of(style)
        return self.decode(style + self.motion(codes), features)
