"""Colour changes: each what its name says, by an amount of its own, and hue as Pillow's HSV and the standard library have it."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from leo_jax.data.augment import CHANGES
from leo_jax.ops import colour
from tests.data import samples

LUMA = np.array([0.299, 0.587, 0.114])


def changed(image, **amounts):
    """An image of [0, 1], or bytes, changed: in [0, 1]."""
    image = image / 255 if image.dtype == np.uint8 else image
    row = jnp.array([[amounts.pop(name, 0.0) for name in CHANGES]], jnp.float32)
    assert not amounts
    images = jnp.asarray(image[None] * 2 - 1, jnp.float32)
    return np.asarray(jax.jit(colour.change)(images, row)[0], np.float64) / 2 + 0.5


def noise(seed=0):
    return np.random.default_rng(seed).random((16, 16, 3))


def test_amounts_of_zero_change_nothing():
    np.testing.assert_allclose(changed(noise()), noise(), atol=1e-6)


def test_changes_are_what_their_names_say():
    image = noise() / 2 + 0.25  # away from the ends
    np.testing.assert_allclose(changed(image, brightness=0.1), image * 1.1, atol=1e-6)
    mean = image.mean((0, 1)) @ LUMA
    np.testing.assert_allclose(changed(image, contrast=-0.1), mean + 0.9 * (image - mean), atol=1e-6)
    grey = (image @ LUMA)[..., None]
    np.testing.assert_allclose(changed(image, saturation=0.1), grey + 1.1 * (image - grey), atol=1e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.03, 0.1])
def test_hue_is_the_standard_librarys(turn):
    image = noise()
    expected = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place])
        expected[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    np.testing.assert_allclose(changed(image, hue=turn), expected, atol=1e-5)


@pytest.mark.parametrize("amount", [-0.1, -0.03, 0.03, 0.1])
@pytest.mark.parametrize("smooth", [False, True])
def test_hue_is_torchvisions_but_for_its_rounding_to_bytes(smooth, amount):
    """torchvision's adjust_hue of a Pillow image adds to a byte of hue."""
    image = samples.picture(1, 64) if smooth else (noise() * 255).astype(np.uint8)
    hue, saturation, value = PIL.Image.fromarray(image).convert("HSV").split()
    shifted = PIL.Image.fromarray(np.asarray(hue) + np.int32(amount * 255).astype(np.uint8))
    expected = np.asarray(PIL.Image.merge("HSV", (shifted, saturation, value)).convert("RGB"))
    off = np.abs(changed(image, hue=amount) * 255 - expected)
    assert off.mean() < 1.5, f"{off.mean():.2f} levels of 255 from Pillow's HSV"


@pytest.mark.parametrize("name", CHANGES)
def test_greys_black_and_white_stay_in_range(name):
    greys = np.linspace(0, 1, 5)[None, :, None].repeat(3, axis=2)
    got = changed(greys, **{name: 0.3})
    assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 1
    if name in ("saturation", "hue"):
        np.testing.assert_allclose(got, greys, atol=1e-6, err_msg="grey has no colour to change")


def test_images_of_a_batch_have_amounts_of_their_own():
    images = jnp.asarray(np.stack([noise(i) for i in range(4)]) * 2 - 1, jnp.float32)
    amounts = 0.1 * jnp.eye(4)
    together = colour.change(images, amounts)
    for i, name in enumerate(CHANGES):
        np.testing.assert_allclose(together[i] / 2 + 0.5, changed(noise(i), **{name: 0.1}), atol=1e-6)
