"""A crop at another size: as if cut out and then resized, whatever lies around it."""

import cv2
import jax
import numpy as np
import pytest

from leo_jax.ops import crop

IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
SQUARES = np.asarray([[0, 0, 56], [8, 3, 56], [5, 8, 56]], np.float32)


def resized(images, squares, size):
    return np.asarray(jax.jit(crop.resized, static_argnums=2)(images, squares, size))


def cut(image, square):
    top, left, side = square.astype(int)
    return image[top : top + side, left : left + side]


@pytest.mark.parametrize("size", [56, 64, 100, 128])
def test_enlarging_is_opencvs_bilinear_of_the_cut(size):
    got = resized(IMAGES, SQUARES, size)
    for image, square, result in zip(IMAGES, SQUARES, got, strict=True):
        want = cv2.resize(cut(image, square), (size, size), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(result, want, atol=2e-5)


@pytest.mark.parametrize("size", [16, 32, 50])
def test_shrinking_is_jaxs_antialiased_bilinear_of_the_cut(size):
    got = resized(IMAGES, SQUARES, size)
    for image, square, result in zip(IMAGES, SQUARES, got, strict=True):
        want = jax.image.resize(cut(image, square), (size, size, 3), "linear", antialias=True)
        np.testing.assert_allclose(result, want, atol=2e-5)


def test_nothing_outside_of_a_square_enters():
    others = np.full_like(IMAGES, 100.0)
    for image, around, square in zip(IMAGES, others, SQUARES, strict=True):
        top, left, side = square.astype(int)
        around[top : top + side, left : left + side] = cut(image, square)
    np.testing.assert_allclose(resized(others, SQUARES, 64), resized(IMAGES, SQUARES, 64), atol=1e-5)


def test_float32_at_highest_precision_whatever_the_default():
    with jax.default_matmul_precision("bfloat16"):
        text = jax.jit(crop.resized, static_argnums=2).lower(IMAGES, SQUARES, 64).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 2
    assert all("HIGHEST" in line for line in products)
