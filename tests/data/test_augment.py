"""Augmentation: no change where none is asked for, crops and flips what they say, and colours' amounts drawn evenly."""

import dataclasses

import cv2
import numpy as np
import pytest

from leo_jax.data import augment
from leo_jax.data.augment import AUGMENTATIONS, Augmentation

PLAIN = augment.Draw(top=0.0, left=0.0, flip=False)


def applied(image, augmentation, drawn, size):
    out = np.zeros((size, size, 3), np.uint8)
    augment.apply(image, augmentation, drawn, out)
    return out


def noise(size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["none", "vox"])
def test_none_changes_nothing(name):
    image = noise()
    for seed in range(5):
        drawn = augment.draw(AUGMENTATIONS[name], np.random.default_rng(seed).random(5))
        np.testing.assert_array_equal(applied(image, AUGMENTATIONS[name], drawn, 64), image)
        assert not any(drawn.amounts)


def test_taichi_is_the_papers():
    assert AUGMENTATIONS["taichi"] == Augmentation(crop=224 / 256, flip=True, colour=0.1)
    assert AUGMENTATIONS["ted"] == Augmentation(crop=1.0, flip=True, colour=0.1)


def test_crops_reach_every_corner_and_nothing_beyond():
    image = np.stack([*np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), np.zeros((256, 256))], -1)
    image = image.astype(np.uint8)
    crop = Augmentation(crop=224 / 256)
    corners = set()
    for top in (0.0, 0.5, np.nextafter(1.0, 0.0)):
        drawn = dataclasses.replace(PLAIN, top=top, left=1 - top if 0 < top < 1 else 0.0)
        got = applied(image, crop, drawn, 224)
        corners.add(tuple(got[0, 0, :2].tolist()))
        assert (np.diff(got[..., 0].astype(int), axis=0) == 1).all(), "a crop of the same size is a copy"
    assert {c[0] for c in corners} == {0, 16, 32}


def test_flip_mirrors_left_and_right():
    image = noise()
    got = applied(image, Augmentation(flip=True), dataclasses.replace(PLAIN, flip=True), 64)
    np.testing.assert_array_equal(got, image[:, ::-1])


def test_a_crop_is_flipped_before_it_is_resized():
    image, half = noise(), Augmentation(crop=0.5, flip=True)
    plain, mirrored = (applied(image, half, dataclasses.replace(PLAIN, flip=flip), 48) for flip in (False, True))
    np.testing.assert_allclose(mirrored.astype(int), plain[:, ::-1], atol=1)


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
    got = applied(checks, AUGMENTATIONS["none"], PLAIN, 16)
    assert np.abs(got.astype(int) - 127.5).max() <= 1, "a fine check pattern must become grey, not a coarse pattern"


@pytest.mark.parametrize("size", [40, 73])
def test_resizing_rounds_the_exact_result(size):
    """Enlarging and shrinking are at most one level of 255 away from the same in float64."""
    image = cv2.GaussianBlur(noise(64), (3, 3), 0)
    crop = Augmentation(crop=56 / 64)
    exact = cv2.resize(image[:56, :56].astype(float), (size, size), interpolation=cv2.INTER_AREA if size < 56 else 1)
    assert np.abs(applied(image, crop, PLAIN, size) - exact).max() <= 1


def test_kept_memory_carries_nothing_over():
    """Frames of several sizes one after the other, in any order, each come out as if they were the first."""
    outcomes = [augment.draw(AUGMENTATIONS["taichi"], np.random.default_rng(i).random(5)) for i in range(12)]
    jobs = [(noise(96 if i % 3 else 64, i), drawn, 40 + 8 * (i % 2)) for i, drawn in enumerate(outcomes)]
    alone = []
    for image, drawn, size in jobs:
        augment._SCRATCH.__dict__.clear()
        alone.append(applied(image, AUGMENTATIONS["taichi"], drawn, size))
    for i in np.random.default_rng(0).permutation(np.repeat(np.arange(len(jobs)), 3)):
        image, drawn, size = jobs[i]
        before = image.copy()
        np.testing.assert_array_equal(applied(image, AUGMENTATIONS["taichi"], drawn, size), alone[i])
        np.testing.assert_array_equal(image, before, err_msg="the frame itself was changed")


def test_squares_only():
    with pytest.raises(ValueError, match="frames are 32x64"):
        applied(np.zeros((32, 64, 3), np.uint8), AUGMENTATIONS["none"], PLAIN, 32)
