"""Changes of an image's colours (SPEC §1, "Augmentation"), on the device: a host has enough to do with decoding."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def change(images: Float[Array, "b h w 3"], amounts: Float[Array, "b 4"]) -> Float[Array, "b h w 3"]:
    """Images in [-1, 1] with changed colours, each by its amounts of brightness, contrast, saturation and hue; 0 is no change.

    As torchvision's ColorJitter has them, but not rounded to bytes on the way: brightness, contrast (about the image's
    mean luma) and saturation have factor 1 + amount, and hue shifts by that part of the circle. What leaves the range is cut.
    """
    brightness, contrast, saturation, hue = (amounts[:, i, None, None, None] for i in range(4))
    x = jnp.clip((images + 1) / 2 * (1 + brightness), 0, 1)
    mean = jnp.mean(_luma(x), axis=(1, 2), keepdims=True)
    x = jnp.clip(x + contrast * (x - mean), 0, 1)
    x = jnp.clip(x + saturation * (x - _luma(x)), 0, 1)
    return 2 * _shift_hue(x, hue[..., 0]) - 1


def _luma(x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    red, green, blue = (x[..., i, None] for i in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _shift_hue(x: Float[Array, "b h w 3"], turn: Float[Array, "b 1 1"]) -> Float[Array, "b h w 3"]:
    """HSV's hue shifted by `turn` of the circle, in closed form: value and saturation stay."""
    red, green, blue = (x[..., i] for i in range(3))
    high, low = (f(f(red, green), blue) for f in (jnp.maximum, jnp.minimum))
    chroma = high - low
    over = jnp.where(chroma > 0, chroma, 1)
    sixth = jnp.where(high == green, 2 + (blue - red) / over, 4 + (red - green) / over)
    sixth = jnp.where(high == red, (green - blue) / over, sixth) + 6 * turn
    # A channel is at the top for two sixths of the circle, falls for one, is at the bottom for two, and rises for one.
    place = (jnp.mod(start + sixth, 6) for start in (5, 3, 1))
    return jnp.stack([high - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1) for k in place], axis=-1)
