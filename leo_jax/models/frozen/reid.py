"""ResNet-50 (He et al. 2016) without its classifier: identity features of whole people, trained on Market-1501, for ACD."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.frozen.layers import IMAGENET_MEAN, IMAGENET_STD, ConvNorm, max_pool, normalise

DIMENSIONS = 2048
SIZE = (288, 144)  # px, height × width, that the published baseline and pose-evaluation resize people to
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, width


class ReID(nn.Module):
    """People → features, as long as they come out (not unit vectors)."""

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        """Identity features (b, 2048) of images in [-1, 1], whole people at SIZE."""
        x = normalise((images.astype(jnp.float32) + 1) / 2, IMAGENET_MEAN, IMAGENET_STD)
        x = ConvNorm(64, (7, 7), 2, (3, 3), name="stem")(x)
        x = max_pool(x, 3, 2, padding=1)
        for stage, (blocks, width) in enumerate(STAGES, 1):
            for i in range(blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                x = Bottleneck(width, stride, project=i == 0, name=f"layer{stage}_{i}")(x)
        return x.mean(axis=(1, 2))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 to four times the width, added to the input (projected in a stage's first block)."""

    width: int
    stride: int
    project: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        skip = ConvNorm(4 * self.width, stride=self.stride, relu=False, name="skip")(x) if self.project else x
        x = ConvNorm(self.width, name="conv1")(x)
        x = ConvNorm(self.width, (3, 3), self.stride, (1, 1), name="conv2")(x)
        x = ConvNorm(4 * self.width, relu=False, name="conv3")(x)
        return nn.relu(x + skip)
