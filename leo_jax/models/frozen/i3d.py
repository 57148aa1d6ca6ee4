"""I3D (Carreira & Zisserman 2017), as TF-Hub's i3d-kinetics-400/1 runs it: the network whose logits FVD and KVD compare.

Only inference: batch norm uses its stored statistics. Everything is float32 at the highest matmul precision, whatever
the process' default is, because FVD moves with the features' last digits.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

FRAMES = 9  # the least number of frames: fewer leave less than two for the last average pool
SIZE = 224  # px: the seven 32 px cells that the last average pool takes

# Channels of each Inception block: 1×1×1 | 1×1×1 then 3×3×3 | 1×1×1 then 3×3×3 | max pool then 1×1×1
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """The network.

    Attributes:
      epsilon: of batch norm: 1e-3 in TF-Hub's, 1e-5 in the PyTorch copy that DIGAN and VideoGPT score with.
      last: name of the layer to stop at: one of TF-Hub's, or "logits".
    """

    epsilon: float = 1e-3
    last: str = "logits"

    def __call__(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b ..."]:
        """Logits (b, 400) of videos in [-1, 1] with t >= 9 and 224 px frames, or the layer `last` of any video.

        Raises:
          ValueError: logits are asked of a video that is too short or has another size.
        """
        return self.layers(video)[self.last]

    @nn.compact
    def layers(self, video: Float[Array, "b t h w 3"]) -> dict[str, Float[Array, "b ..."]]:
        """The output of every layer up to `last`, by TF-Hub's names."""
        if self.last == "logits" and (video.shape[1] < FRAMES or video.shape[2:4] != (SIZE, SIZE)):
            t, h, w = video.shape[1:4]
            raise ValueError(f"I3D's logits need {FRAMES} or more frames of {SIZE}x{SIZE} px, got {t} of {h}x{w} px")
        x, found = video.astype(jnp.float32), {}
        for name, layer in self._layers():
            x = found[name] = layer(x)
            if name == self.last:
                return found
        raise ValueError(f"I3D has no layer {self.last!r}, it has {', '.join(found)}")

    def _layers(self):
        """(name, layer) in the order that they run."""

        def unit(name, channels, window, stride=(1, 1, 1)):
            return name, Unit(channels, window, stride, epsilon=self.epsilon, name=name)

        def mixed(*names):
            return [(name, Mixed(MIXED[name], self.epsilon, name=name)) for name in names]

        return [
            unit("Conv3d_1a_7x7", 64, (7, 7, 7), (2, 2, 2)),
            ("MaxPool3d_2a_3x3", lambda x: max_pool(x, (1, 3, 3), (1, 2, 2))),
            unit("Conv3d_2b_1x1", 64, (1, 1, 1)),
            unit("Conv3d_2c_3x3", 192, (3, 3, 3)),
            ("MaxPool3d_3a_3x3", lambda x: max_pool(x, (1, 3, 3), (1, 2, 2))),
            *mixed("Mixed_3b", "Mixed_3c"),
            ("MaxPool3d_4a_3x3", lambda x: max_pool(x, (3, 3, 3), (2, 2, 2))),
            *mixed("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
            ("MaxPool3d_5a_2x2", lambda x: max_pool(x, (2, 2, 2), (2, 2, 2))),
            *mixed("Mixed_5b", "Mixed_5c"),
            ("logits", Logits(name="logits")),
        ]


class Unit(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm by stored statistics, ReLU."""

    channels: int
    window: Sequence[int]
    stride: Sequence[int] = (1, 1, 1)
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 c2"]:
        kernel = self.param("kernel", nn.initializers.he_normal(), (*self.window, x.shape[-1], self.channels))
        scale = self.param("scale", nn.initializers.ones, (self.channels,))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        mean = self.param("mean", nn.initializers.zeros, (self.channels,))
        var = self.param("var", nn.initializers.ones, (self.channels,))
        gain = scale * jax.lax.rsqrt(var + self.epsilon)  # batch norm goes into kernel and bias: one pass less
        shift = bias - mean * gain
        return nn.relu(conv3d(x, kernel * gain[None, None, None, None], self.stride) + shift[None, None, None, None])


class Mixed(nn.Module):
    """Inception block: four branches over the same input, joined along the channels."""

    channels: Sequence[int]
    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c2"]:
        def unit(name, channels, size):
            return Unit(channels, (size,) * 3, epsilon=self.epsilon, name=name)

        b0, b1a, b1b, b2a, b2b, b3b = self.channels
        branches = [
            unit("b0", b0, 1)(x),
            unit("b1b", b1b, 3)(unit("b1a", b1a, 1)(x)),
            unit("b2b", b2b, 3)(unit("b2a", b2a, 1)(x)),
            unit("b3b", b3b, 1)(max_pool(x, (3, 3, 3), (1, 1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class Logits(nn.Module):
    """Average pool over 2×7×7, a linear layer, mean over what is left of time."""

    classes: int = 400

    @nn.compact
    def __call__(self, x: Float[Array, "b t 7 7 c"]) -> Float[Array, "b classes"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (1, 1, 1, x.shape[-1], self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        frames = x.mean(axis=(2, 3))
        pooled = (frames[:, :-1] + frames[:, 1:]) / 2
        return jnp.dot(pooled.mean(axis=1), kernel[0, 0, 0], precision=jax.lax.Precision.HIGHEST) + bias[None]


def max_pool(
    x: Float[Array, "b t h w c"], window: Sequence[int], stride: Sequence[int]
) -> Float[Array, "b t2 h2 w2 c"]:
    """Maximum over `window`, with TensorFlow's SAME padding by -inf."""
    return nn.max_pool(x, tuple(window), strides=tuple(stride), padding="SAME")


def conv3d(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c c2"], stride: Sequence[int]
) -> Float[Array, "b t2 h2 w2 c2"]:
    """3-D convolution with SAME padding at the highest precision; on a CPU as 2-D ones, which XLA runs up to 5× quicker."""
    stride = tuple(stride)
    if kernel.shape[:3] == stride == (1, 1, 1):
        return jnp.dot(x, kernel[0, 0, 0], precision=jax.lax.Precision.HIGHEST)
    return jax.lax.platform_dependent(
        x, kernel, cpu=lambda x, k: _conv3d_by_taps(x, k, stride), default=lambda x, k: _conv(x, k, stride)
    )


def _conv(x, kernel, stride):
    """XLA's own convolution over all axes between the first and the last."""
    axes = "THW"[-len(stride) :]
    dimensions = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(
        x, kernel, stride, "SAME", dimension_numbers=dimensions, precision=jax.lax.Precision.HIGHEST
    )


def _conv3d_by_taps(x, kernel, stride):
    """The same as a 2-D convolution for each tap in time, frames in the batch, summed.

    With few channels (the RGB input) the taps are stacked as channels instead, for one convolution with a longer sum.
    """
    taps, frames = kernel.shape[0], -(-x.shape[1] // stride[0])
    spare = max((frames - 1) * stride[0] + taps - x.shape[1], 0)
    x = jnp.pad(x, ((0, 0), (spare // 2, spare - spare // 2), (0, 0), (0, 0), (0, 0)))
    span = (frames - 1) * stride[0] + 1
    shifted = [jax.lax.slice_in_dim(x, tap, tap + span, stride[0], axis=1) for tap in range(taps)]
    if x.shape[-1] < 8:
        shifted, kernel = [jnp.concatenate(shifted, axis=-1)], jnp.concatenate(list(kernel), axis=-2)[None]
    out = sum(
        _conv(frame.reshape(-1, *frame.shape[2:]), k, stride[1:]) for frame, k in zip(shifted, kernel, strict=True)
    )
    return out.reshape(x.shape[0], frames, *out.shape[1:])
