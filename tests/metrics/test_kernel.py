"""Kernel distance: the peers' own values, and what makes it unbiased."""

import pathlib

import numpy as np
import pytest

from leo_jax.metrics.kernel import distance, grams, kernel_distance

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "metrics" / "frechet_mmd_small.npz")
CASES = ["d16_n64", "d16_n96_n256", "d16_same", "d400_n64", "d400_same"]


@pytest.mark.parametrize("case", CASES)
def test_digan(case):
    value = kernel_distance(GOLDEN[f"{case}/real"], GOLDEN[f"{case}/fake"])
    np.testing.assert_allclose(value, GOLDEN[f"{case}/digan_kvd_float64"], rtol=1e-6)


def test_styleganv_kid_of_equal_sizes():
    """StyleGAN-V's KID with one subset of everything is the same estimator times 1000."""
    value = kernel_distance(GOLDEN["d400_n64/real"], GOLDEN["d400_n64/fake"])
    np.testing.assert_allclose(1000 * value, GOLDEN["d400_n64/styleganv_kid_1subset_full"], rtol=1e-5)


def test_by_hand():
    """Two features a side in one dimension: k(x, y) = (xy + 1)³, no row paired with itself."""
    real, fake = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    k = lambda x, y: (x * y + 1) ** 3
    expected = k(0, 1) + k(1, 2) - 2 * (k(0, 1) + k(0, 2) + k(1, 1) + k(1, 2)) / 4
    np.testing.assert_allclose(kernel_distance(real, fake), expected)


def test_unbiased():
    """Over many small draws of one distribution the mean is 0 within its standard error."""
    random = np.random.default_rng(0)
    values = [kernel_distance(*random.normal(size=(2, 6, 3))) for _ in range(3000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_weights():
    random = np.random.default_rng(1)
    real, fake = random.normal(size=(2, 8, 3))
    matrices = grams(real, fake)
    one = np.ones(8)
    np.testing.assert_allclose(distance(matrices, one, 3 * one), kernel_distance(real, fake), rtol=1e-9)
    without_last = np.array([1] * 7 + [0])
    np.testing.assert_allclose(distance(matrices, without_last), kernel_distance(real[:7], fake), rtol=1e-9)


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "4 dimensions, fake ones 5"),
        (np.zeros((1, 4)), np.zeros((3, 4)), "real has 1 features"),
        (np.zeros((3, 4)), np.full((3, 4), np.inf), "infinity in 3 of 3"),
    ],
)
def test_refuses_with_the_reason(real, fake, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(real, fake)
