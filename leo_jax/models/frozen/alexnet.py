"""LPIPS (Zhang et al. 2018) on AlexNet: how different two images look, by calibrated distances of deep features."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.frozen.layers import conv, max_pool, normalise

MEAN = (-0.030, -0.088, -0.188)  # ImageNet's, of RGB in [-1, 1], as LPIPS rounds them
STD = (0.458, 0.448, 0.450)
# channels, window, stride, padding of each convolution; a 3×3 max pool of stride 2 comes before the second and the third
LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
SMALLEST = 31  # px: a shorter side leaves nothing after the second pool


class LPIPS(nn.Module):
    """Pairs of images → distances, version 0.1."""

    @nn.compact
    def __call__(self, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        """Distance (b,) >= 0 of each pair of images in [-1, 1]; 0 for equal images.

        At every layer both features are made unit vectors along the channels; their squared difference is weighted by a
        learned vector, averaged over the image, and summed over the layers.

        Raises:
          ValueError: a side has fewer than 31 px.
        """
        if min(a.shape[1:3]) < SMALLEST:
            raise ValueError(f"LPIPS needs sides of {SMALLEST} px or more, got {a.shape[1]}x{a.shape[2]}")
        x = normalise(jnp.concatenate([a, b]).astype(jnp.float32), MEAN, STD)
        distance = jnp.zeros(len(a), jnp.float32)
        for i, (channels, window, stride, padding) in enumerate(LAYERS):
            x = max_pool(x, 3, 2) if i in (1, 2) else x
            kernel = self.param(f"conv{i}_kernel", nn.initializers.he_normal(), (window, window, x.shape[-1], channels))
            bias = self.param(f"conv{i}_bias", nn.initializers.zeros, (channels,))
            weight = self.param(f"lin{i}", nn.initializers.ones, (channels,))
            x = nn.relu(conv(x, kernel, stride, (padding, padding)) + bias[None, None, None])
            unit = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
            difference = (unit[: len(a)] - unit[len(a) :]) ** 2 * weight[None, None, None]
            distance += difference.sum(axis=-1).mean(axis=(1, 2))
        return distance
