"""VGG19's convolutions up to relu5_1, for the perceptual loss. Never trained; weights are an argument of the step."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.layers import Dtype
from leo_jax.ops.conv import same_conv

# Convolutions of each stage up to relu5_1; a max pool stands between stages.
STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
MEAN = (0.485, 0.456, 0.406)  # ImageNet's, of RGB in [0, 1]
STD = (0.229, 0.224, 0.225)


def normalise(images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Images in [-1, 1] (clamped to it) → VGG's input: [0, 1], then ImageNet's mean and deviation."""
    images = (jnp.clip(images, -1, 1) + 1) / 2
    mean, std = (jnp.asarray(v, images.dtype)[None, None, None, :] for v in (MEAN, STD))
    return (images - mean) / std


class VGG19(nn.Module):
    """Normalised images → activations at relu1_1, 2_1, 3_1, 4_1, 5_1. Sides of at least 16 px."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
        x = x.astype(self.dtype)
        taps = []
        for stage, widths in enumerate(STAGES, 1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for i, width in enumerate(widths, 1):
                kernel = self.param(f"conv{stage}_{i}_kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], width))
                bias = self.param(f"conv{stage}_{i}_bias", nn.initializers.zeros, (width,))
                x = nn.relu(same_conv(x, kernel) + bias.astype(x.dtype)[None, None, None, :])
                if i == 1:
                    taps.append(x)
        return taps
