"""Losses against NumPy, in float64, from their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from leo_jax import losses


def reduced(x, factor):
    """A Gaussian of sigma (factor - 1) / 2 cut at 4 sigma over zeros, then every factor-th pixel."""
    if factor == 1:
        return x
    sigma = (factor - 1) / 2
    return scipy.ndimage.gaussian_filter(x, sigma, axes=(1, 2), mode="constant", truncate=4)[:, ::factor, ::factor]


@pytest.mark.parametrize("emphasis", [0.0, 3.0])
@pytest.mark.parametrize(("size", "factors"), [(8, (1, 2)), (16, (1, 2, 4))])
def test_pyramid_l1_is_its_definition(size, factors, emphasis):
    """Every scale down to 4 px; where the driving frame moved, by 0.1 of its range or more, a pixel counts 1 + emphasis."""
    random = np.random.default_rng(0)
    still, fake = random.uniform(-1, 1, (2, 3, size, size, 3))
    # Still pixels, such as move a little, and such as move far beyond the limit.
    real = still + random.choice([0, 0.05, 1], (3, size, size, 1)) * random.uniform(-1, 1, still.shape)
    expected = 0
    for factor in factors:
        x, y, z = (reduced(image, factor) for image in (fake, real, still))
        moved = np.minimum(10 * np.abs(y - z).mean(-1), 1)
        expected += np.mean((1 + emphasis * moved) * np.abs(x - y).mean(-1))
    fake, real, still = (jnp.asarray(image, jnp.float32) for image in (fake, real, still))
    loss = losses.pyramid_l1(fake, real, still=still, weight=2.5, emphasis=emphasis)
    np.testing.assert_allclose(loss, 2.5 * expected, rtol=1e-5)


def test_pyramid_l1_without_a_source_frame_weighs_all_pixels_alike():
    fake, real = np.random.default_rng(0).uniform(-1, 1, (2, 2, 8, 8, 3)).astype(np.float32)
    expected = sum(np.abs(reduced(fake - real, factor)).mean() for factor in (1, 2))
    fake, real = jnp.asarray(fake), jnp.asarray(real)
    np.testing.assert_allclose(losses.pyramid_l1(fake, real, emphasis=3.0), expected, rtol=1e-5)
