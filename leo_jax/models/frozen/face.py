"""InceptionResnetV1 (Szegedy et al. 2017) as FaceNet's PyTorch copy runs it: identity features of faces, for ACD."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.frozen.layers import ConvNorm, conv, max_pool, norm

DIMENSIONS = 512
EPSILON = 1e-3  # of batch norm, TensorFlow's


class FaceNet(nn.Module):
    """Faces → unit vectors. Sides of at least 75 px; trained at 160, ACD uses 128."""

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b 512"]:
        """Identity features (b, 512) of length 1 for images in [-1, 1].

        The network was trained on (x - 127.5) / 128 for x in 0–255, so images are scaled by 127.5 / 128 first.
        """
        x = images.astype(jnp.float32) * (127.5 / 128)
        x = _unit(32, 3, stride=2, name="conv2d_1a")(x)
        x = _unit(32, 3, name="conv2d_2a")(x)
        x = _unit(64, 3, same=True, name="conv2d_2b")(x)
        x = max_pool(x, 3, 2)
        x = _unit(80, 1, name="conv2d_3b")(x)
        x = _unit(192, 3, name="conv2d_4a")(x)
        x = _unit(256, 3, stride=2, name="conv2d_4b")(x)
        for i in range(5):
            x = Residual(((32,), (32, 32), (32, 32, 32)), square=3, scale=0.17, name=f"repeat_1_{i}")(x)
        x = Reduction(((384,), (192, 192, 256)), name="mixed_6a")(x)
        for i in range(10):
            x = Residual(((128,), (128, 128, 128)), line=7, scale=0.10, name=f"repeat_2_{i}")(x)
        x = Reduction(((256, 384), (256, 256), (256, 256, 256)), name="mixed_7a")(x)
        for i in range(5):
            x = Residual(((192,), (192, 192, 192)), line=3, scale=0.20, name=f"repeat_3_{i}")(x)
        x = Residual(((192,), (192, 192, 192)), line=3, scale=1.0, relu=False, name="block8")(x)
        x = Embedding(DIMENSIONS, name="last")(x.mean(axis=(1, 2)))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)


class Residual(nn.Module):
    """Inception-ResNet block: branches that start 1×1, joined, mapped back to the input's channels, scaled and added.

    A branch's further layers are square×square, or 1×line then line×1.
    """

    branches: tuple[tuple[int, ...], ...]
    scale: float
    square: int = 0
    line: int = 0
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        ends = []
        for number, widths in enumerate(self.branches):
            y = x
            for i, width in enumerate(widths):
                window = (
                    (1, 1) if i == 0 else (self.square,) * 2 if self.square else ((1, self.line), (self.line, 1))[i - 1]
                )
                y = _unit(width, window, same=True, name=_layer_name(number, i, len(widths)))(y)
            ends.append(y)
        joined = jnp.concatenate(ends, axis=-1)
        kernel = self.param("kernel", nn.initializers.he_normal(), (1, 1, joined.shape[-1], x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x = (conv(joined, kernel) + bias[None, None, None]) * self.scale + x
        return nn.relu(x) if self.relu else x


class Reduction(nn.Module):
    """Halves the sides: branches that end in a stride-2 3×3 convolution, and a max pool."""

    branches: tuple[tuple[int, ...], ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        joined = []
        for number, widths in enumerate(self.branches):
            y = x
            for i, width in enumerate(widths):
                last = i == len(widths) - 1
                name = _layer_name(number, i, len(widths))
                y = _unit(width, 3 if last or i else 1, stride=2 if last else 1, same=not last, name=name)(y)
            joined.append(y)
        return jnp.concatenate([*joined, max_pool(x, 3, 2)], axis=-1)


class Embedding(nn.Module):
    """Linear layer without bias, then batch norm."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b c2"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.channels))
        gain, shift = norm(self, self.channels, EPSILON)
        return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST) * gain[None] + shift[None]


def _unit(channels: int, window: int | tuple[int, int], *, stride: int = 1, same: bool = False, name: str) -> ConvNorm:
    window = (window, window) if isinstance(window, int) else window
    padding = (window[0] // 2, window[1] // 2) if same else (0, 0)
    return ConvNorm(channels, window, stride, padding, EPSILON, name=name)


def _layer_name(branch: int, layer: int, layers: int) -> str:
    """Branches of one layer have no second number, as in the published weights."""
    return f"branch{branch}" if layers == 1 else f"branch{branch}_{layer}"
