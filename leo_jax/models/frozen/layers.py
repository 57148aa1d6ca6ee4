"""What the frozen scoring networks share: layers in inference form, float32 at the highest precision."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Pair = tuple[int, int]
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)


class ConvNorm(nn.Module):
    """2-D convolution without bias, batch norm by stored statistics, and ReLU if asked.

    `padding` is the zeros at each side, PyTorch's way.
    """

    channels: int
    window: Pair = (1, 1)
    stride: int = 1
    padding: Pair = (0, 0)
    epsilon: float = 1e-5
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.window, x.shape[-1], self.channels))
        gain, shift = norm(self, self.channels, self.epsilon)
        x = conv(x, kernel * gain[None, None, None], self.stride, self.padding) + shift[None, None, None]
        return nn.relu(x) if self.relu else x


def norm(module: nn.Module, channels: int, epsilon: float) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Batch norm of the enclosing module as a gain and a shift, from its parameters scale, bias, mean and var."""
    scale = module.param("scale", nn.initializers.ones, (channels,))
    bias = module.param("bias", nn.initializers.zeros, (channels,))
    mean = module.param("mean", nn.initializers.zeros, (channels,))
    var = module.param("var", nn.initializers.ones, (channels,))
    gain = scale * jax.lax.rsqrt(var + epsilon)
    return gain, bias - mean * gain


def conv(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c c2"], stride: int = 1, padding: Pair = (0, 0)
) -> Float[Array, "b h2 w2 c2"]:
    """Plain 2-D convolution at the highest precision."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(p, p) for p in padding],
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip


def max_pool(x: Float[Array, "b h w c"], window: int, stride: int, padding: int = 0) -> Float[Array, "b h2 w2 c"]:
    """Maximum over square windows; padding counts as -inf."""
    return nn.max_pool(x, (window, window), (stride, stride), [(padding, padding)] * 2)


def normalise(images: Float[Array, "b h w 3"], mean: Sequence[float], std: Sequence[float]) -> Float[Array, "b h w 3"]:
    """(images - mean) / std, by channel."""
    shift, scale = (jnp.asarray(v, images.dtype)[None, None, None] for v in (mean, std))
    return (images - shift) / scale
