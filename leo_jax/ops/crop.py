"""A square of each image at another size (SPEC §1, "Augmentation"), on the device: a host has enough to do with decoding."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def resized(images: Float[Array, "b h h 3"], squares: Float[Array, "b 3"], size: int) -> Float[Array, "b s s 3"]:
    """The squares (top, left, side), in whole pixels and inside the images, at `size`.

    Enlarging is bilinear. Shrinking weighs pixels by a triangle as much wider (antialiased). Nothing outside a square enters,
    as if it had been cut out first.
    """
    top, left, side = squares.T
    rows, columns = (_weights(start, side, images.shape[1], size) for start in (top, left))
    # Full precision: 256 levels are more than the weights would keep in bfloat16.
    return jnp.einsum("bsh,btw,bhwc->bstc", rows, columns, images, precision="highest")


def _weights(start: Float[Array, " b"], side: Float[Array, " b"], stored: int, size: int) -> Float[Array, "b s h"]:
    """What each of `stored` pixels of a line counts in each of `size` pixels of the square's line."""
    start, side = start[:, None, None], side[:, None, None]
    scale = side / size
    centre = (jnp.arange(size, dtype=jnp.float32)[None, :, None] + 0.5) * scale - 0.5
    pixel = jnp.arange(stored, dtype=jnp.float32)[None, None] - start
    weight = jnp.maximum(1 - jnp.abs(pixel - centre) / jnp.maximum(scale, 1), 0)
    weight = jnp.where((pixel >= 0) & (pixel < side), weight, 0)
    return weight / weight.sum(-1, keepdims=True)
