"""The generator: a latent turns the source's features into an image by flow, mask and inpainting (SPEC §1, generator)."""

from collections.abc import Mapping

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from leo_jax.models.layers import SMALLEST, Dtype, EqualLinear, activate
from leo_jax.ops import conv as ops
from leo_jax.ops.resample import upsample
from leo_jax.ops.warp import identity_grid, warp


@flax.struct.dataclass
class Frames:
    """What the generator draws.

    Attributes:
        image: (b, h, w, 3) float32, about [-1, 1], not clipped.
        flow_raw: by resolution, the flow head's (b, r, r, 3) before tanh (x, y) and sigmoid (mask), float32.
    """

    image: Float[Array, "b h w 3"]
    flow_raw: dict[int, Float[Array, "b _ _ 3"]]

    @property
    def flow(self) -> dict[int, jax.Array]:
        """By resolution, the sampling grid's offset (b, r, r, 2), x first, in units of half the image's side."""
        return {r: jnp.tanh(raw[..., :2]) for r, raw in self.flow_raw.items()}

    @property
    def mask(self) -> dict[int, jax.Array]:
        """By resolution, (b, r, r, 1) in [0, 1]: 1 where the warped source is used, 0 where the image is inpainted."""
        return {r: nn.sigmoid(raw[..., 2:]) for r, raw in self.flow_raw.items()}


class ModulatedConv(nn.Module):
    """Equalised convolution whose input channels are scaled by a linear function of the latent."""

    features: int
    kernel_size: int
    demodulate: bool = True
    up: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], latent: Float[Array, "b s"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape) * (1 / np.sqrt(np.prod(shape[:3])))
        style = EqualLinear(x.shape[-1], bias_init=1.0, name="modulation")(latent)
        return ops.modulated_conv(x, kernel, style, demodulate=self.demodulate, upsample=self.up)


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, optionally doubling the resolution, then bias and activation."""

    features: int
    up: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], latent: Float[Array, "b s"]) -> Float[Array, "b h2 w2 o"]:
        x = ModulatedConv(self.features, 3, up=self.up, name="conv")(x, latent)
        return activate(x, self.param("bias", nn.initializers.zeros, (self.features,)))


class FlowHead(nn.Module):
    """Three channels at a resolution: offset x, offset y, mask, before their squashing; the resolution below is added."""

    @nn.compact
    def __call__(self, x: Array, latent: Array, below: Array | None) -> Float[Array, "b r r 3"]:
        raw = ModulatedConv(3, 1, demodulate=False, name="conv")(x, latent).astype(jnp.float32)
        raw = raw + self.param("bias", nn.initializers.zeros, (3,))[None, None, None, :]
        return raw if below is None else raw + upsample(below)


class ImageHead(nn.Module):
    """Warped features → a resolution's contribution to the image, in float32."""

    @nn.compact
    def __call__(self, warped: Float[Array, "b r r c"]) -> Float[Array, "b r r 3"]:
        c = warped.shape[-1]
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, c, 3)) * (1 / np.sqrt(c))
        rgb = ops.conv(warped, kernel).astype(jnp.float32)
        rgb = activate(rgb, self.param("bias", nn.initializers.zeros, (3,)))
        return rgb + self.param("output_bias", nn.initializers.zeros, (3,))[None, None, None, :]


class Generator(nn.Module):
    """(latent z (b, s), source features by resolution) → `Frames`."""

    channels: Mapping[int, int]
    dtype: Dtype = jnp.float32
    remat: bool = False  # keep only the convolutions' inputs for the backward pass

    @nn.compact
    def __call__(self, latent: Float[Array, "b s"], features: Mapping[int, Array]) -> Frames:
        start = self.param("constant", nn.initializers.normal(1.0), (SMALLEST, SMALLEST, self.channels[SMALLEST]))
        x = jnp.broadcast_to(start[None], (latent.shape[0], *start.shape)).astype(self.dtype)
        styled = nn.remat(StyledConv) if self.remat else StyledConv
        x = styled(self.channels[SMALLEST], name="conv_4")(x, latent)
        image: Array | None = None
        flows: dict[int, Array] = {}
        for r in sorted(features):
            x = styled(self.channels[r], up=True, name=f"up_{r}")(x, latent)
            x = styled(self.channels[r], name=f"conv_{r}")(x, latent)
            raw = FlowHead(name=f"to_flow_{r}")(x, latent, flows.get(r // 2))
            offset, mask = jnp.tanh(raw[..., :2]), nn.sigmoid(raw[..., 2:]).astype(self.dtype)
            warped = warp(features[r], identity_grid(r)[None] + offset) * mask
            x = warped + x * (1 - mask)
            rgb = ImageHead(name=f"to_rgb_{r}")(warped)
            image = rgb if image is None else rgb + upsample(image)
            flows[r] = raw
        if image is None:
            raise ValueError("features of no resolution: nothing to draw from")
        return Frames(image=image, flow_raw=flows)
