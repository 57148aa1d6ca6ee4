"""Losses of the animator (SPEC §1, training). Scalars in float32; images are (b, h, w, 3) in [-1, 1]."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax.models.frozen.vgg19 import normalise
from leo_jax.ops.resample import pyramid

Scalar = Float[Array, ""]


def l1(prediction: Float[Array, "*dims"], target: Float[Array, "*dims"]) -> Scalar:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32)))


def perceptual(
    features: Callable[[Float[Array, "b h w 3"]], Sequence[Array]],
    fake: Float[Array, "b h w 3"],
    real: Float[Array, "b h w 3"],
    *,
    weight: float = 10.0,
) -> Scalar:
    """`weight` times the L1 between VGG19's activations, summed over layers and the scales 1, 1/2, 1/4, 1/8.

    No gradient reaches `real`. `features` takes normalised images. Scales under 16 px are left out.
    """
    total = jnp.zeros((), jnp.float32)
    for x, y in zip(pyramid(fake), pyramid(real), strict=True):
        for a, b in zip(features(normalise(x)), jax.lax.stop_gradient(features(normalise(y))), strict=True):
            total += l1(a, b)
    return weight * total


def pyramid_l1(
    fake: Float[Array, "b h w 3"],
    real: Float[Array, "b h w 3"],
    *,
    weight: float = 1.0,
    still: Float[Array, "b h w 3"] | None = None,
    emphasis: float = 0.0,
) -> Scalar:
    """`weight` times the L1 summed over the same pyramid, down to 4 px: ours, for data without VGG19.

    Where `real` differs from `still` (the source frame), the difference counts up to 1 + `emphasis` times as much: most
    pixels do not move, and small networks would spend long on copying them alone.
    """
    total = jnp.zeros((), jnp.float32)
    stills = pyramid(real if still is None else still, smallest=4)
    for x, y, z in zip(pyramid(fake, smallest=4), pyramid(real, smallest=4), stills, strict=True):
        moved = jnp.minimum(10 * jnp.mean(jnp.abs(y - z), axis=-1, keepdims=True), 1.0)
        total += jnp.mean((1 + emphasis * moved) * jnp.abs(x - y))
    return weight * total


def adversarial_generator(logits_fake: Float[Array, " b"]) -> Scalar:
    """Mean softplus(-D(fake))."""
    return jnp.mean(jax.nn.softplus(-logits_fake))


def adversarial_discriminator(logits_real: Float[Array, " b"], logits_fake: Float[Array, " b"]) -> Scalar:
    """Mean softplus(-D(real)) + mean softplus(D(fake))."""
    return jnp.mean(jax.nn.softplus(-logits_real)) + jnp.mean(jax.nn.softplus(logits_fake))
