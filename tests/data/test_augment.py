"""Augmentation: no change where none is asked for, crops and flips what they say, and colours' amounts drawn evenly."""

import cv2
import numpy as np
import pytest

from leo_jax.data import augment
from leo_jax.data.augment import AUGMENTATIONS, Augmentation


def resized(image, size):
    out = np.zeros((size, size, 3), np.uint8)
    augment.resize(image, out)
    return out


def noise(size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["none", "vox"])
def test_none_changes_nothing(name):
    for seed in range(5):
        drawn = augment.draw(AUGMENTATIONS[name], np.random.default_rng(seed).random(5))
        assert augment.square(AUGMENTATIONS[name], drawn, 64) == (0, 0, 64)
        assert not drawn.flip and not any(drawn.amounts)
    np.testing.assert_array_equal(resized(noise(), 64), noise())


def test_taichi_is_the_papers():
    assert AUGMENTATIONS["taichi"] == Augmentation(crop=224 / 256, flip=True, colour=0.1)
    assert AUGMENTATIONS["ted"] == Augmentation(crop=1.0, flip=True, colour=0.1)


def test_crops_reach_every_corner_and_nothing_beyond():
    rng, crop = np.random.default_rng(0), AUGMENTATIONS["taichi"]
    squares = np.array([augment.square(crop, augment.draw(crop, rng.random(5)), 256) for _ in range(4000)])
    assert (squares[:, 2] == 224).all()
    for column in squares[:, :2].T:
        assert set(column) == set(range(33))
        assert np.bincount(column).min() > 70, "places are not as likely"
    assert abs(np.corrcoef(squares[:, 0], squares[:, 1])[0, 1]) < 0.06
    last = augment.Draw(*(np.nextafter(1.0, 0.0),) * 2, flip=False)
    assert augment.square(crop, last, 256) == (32, 32, 224)


def test_flip_mirrors_left_and_right():
    image = noise()
    augment.flip(image)
    np.testing.assert_array_equal(image, noise()[:, ::-1])


def test_half_of_the_pairs_are_flipped_and_colours_change_in_turn():
    rng = np.random.default_rng(0)
    draws = [augment.draw(AUGMENTATIONS["taichi"], rng.random(5)) for _ in range(4000)]
    assert abs(np.mean([d.flip for d in draws]) - 0.5) < 0.03
    amounts = np.array([d.amounts for d in draws])
    assert ((amounts != 0).sum(1) == 1).all(), "one change of a pair"
    for name, column in zip(augment.CHANGES, amounts.T, strict=True):
        assert abs(np.mean(column != 0) - 0.25) < 0.03, name
        assert -0.1 <= column.min() < -0.095 and 0.095 < column.max() <= 0.1, name


def test_shrinking_is_antialiased():
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    got = resized(checks, 16)
    assert np.abs(got.astype(int) - 127.5).max() <= 1, "a fine check pattern must become grey, not a coarse pattern"


@pytest.mark.parametrize("size", [40, 73])
def test_resizing_rounds_the_exact_result(size):
    """Enlarging and shrinking are at most one level of 255 away from the same in float64."""
    image = cv2.GaussianBlur(noise(64), (3, 3), 0)
    exact = cv2.resize(image.astype(float), (size, size), interpolation=cv2.INTER_AREA if size < 64 else 1)
    assert np.abs(resized(image, size) - exact).max() <= 1


def test_squares_only():
    with pytest.raises(ValueError, match="frames are 32x64"):
        resized(np.zeros((32, 64, 3), np.uint8), 32)
