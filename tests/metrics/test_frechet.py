"""Fréchet distance: the peers' own values, and what must hold for any features."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leo_jax.metrics.frechet import distance, frechet_distance, spread

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "metrics" / "frechet_mmd_small.npz")
CASES = ["d16_n64", "d16_n96_n256", "d16_same", "d400_n64", "d400_same"]


def sides(case):
    return GOLDEN[f"{case}/real"], GOLDEN[f"{case}/fake"]


@pytest.mark.parametrize("case", CASES)
def test_digan(case):
    expected = GOLDEN[f"{case}/digan_fvd_float64"]
    np.testing.assert_allclose(frechet_distance(*sides(case)), expected, rtol=1e-6, atol=1e-3 * case.endswith("same"))


@pytest.mark.parametrize("case", CASES)
def test_styleganv(case):
    expected = GOLDEN[f"{case}/styleganv_fvd"]
    value = frechet_distance(*sides(case), ddof=0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-3 * case.endswith("same"))


@pytest.mark.parametrize(("ddof", "key"), [(0, "styleganv_cov_fake"), (1, "digan_cov_fake_float64")])
def test_factor_is_a_root_of_the_covariance(ddof, key):
    fitted = spread(GOLDEN["d16_n64/fake"], ddof=ddof)
    np.testing.assert_allclose(fitted.mean, GOLDEN["d16_n64/styleganv_mean_fake"], rtol=1e-6)
    np.testing.assert_allclose(fitted.factor.T @ fitted.factor, GOLDEN[f"d16_n64/{key}"], rtol=1e-5, atol=1e-7)


def test_one_dimension_is_textbook():
    """Between N(m, s²) and N(n, t²) the distance is (m - n)² + (s - t)²."""
    a, b = np.array([[0.0], [2.0]]), np.array([[7.0], [13.0]])
    np.testing.assert_allclose(frechet_distance(a, b, ddof=0), (1 - 10) ** 2 + (1 - 3) ** 2)


@given(n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 30), scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_never_negative_and_symmetric(n, m, d, scale):
    random = np.random.default_rng(n * 10000 + m * 100 + d)
    real, fake = random.normal(size=(n, d)) * scale, random.normal(size=(m, d)) * scale
    value = frechet_distance(real, fake)
    assert np.isfinite(value) and value >= 0
    np.testing.assert_allclose(frechet_distance(fake, real), value, rtol=1e-7, atol=1e-12 * scale**2)
    assert frechet_distance(real, real[::-1]) < 1e-12 * scale**2 * d * n, "the order of features must not matter"


def test_weights_are_repetitions():
    random = np.random.default_rng(0)
    real, fake, times = random.normal(size=(30, 5)), random.normal(size=(20, 5)), random.integers(0, 4, 30)
    weighted = distance(spread(real, weights=times), spread(fake))
    np.testing.assert_allclose(weighted, frechet_distance(np.repeat(real, times, axis=0), fake), rtol=1e-9)


@pytest.mark.parametrize(
    ("real", "fake", "ddof", "message"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), 1, "4 dimensions on one side and 5"),
        (np.zeros((1, 4)), np.zeros((3, 4)), 1, "real has 1 features.*at least 2"),
        (np.zeros((3, 4)), np.zeros((0, 4)), 0, "fake has 0 features"),
        (np.zeros((3, 4)), np.array([[0, 1.0], [np.nan, 0]]), 1, "fake holds NaN.*row 1"),
        (np.zeros(4), np.zeros((3, 4)), 1, r"shape \(n, d\)"),
        (np.zeros((3, 4), complex), np.zeros((3, 4)), 1, "real features"),
    ],
)
def test_refuses_with_the_reason(real, fake, ddof, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(real, fake, ddof=ddof)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32"])
def test_any_real_numbers_and_any_library_s_arrays(dtype):
    """Computed in float64 from whatever was given: the same as of those values in float64, down to the last digits."""
    random = np.random.default_rng(1)
    given = [jnp.asarray(random.normal(size=(30, 50)) * 9, dtype) for _ in range(2)]
    exact = [np.asarray(side).astype(np.float64) for side in given]
    np.testing.assert_allclose(frechet_distance(*given), frechet_distance(*exact), rtol=1e-12)
    assert type(frechet_distance(*given)) is float


def test_thousands_of_features_leave_a_small_factor():
    """What the singular values are taken of has at most as many rows as dimensions; benchmarks/evaluation.py has the times."""
    features = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    fitted = spread(features)
    assert fitted.factor.shape == (20, 20)
    np.testing.assert_allclose(fitted.factor.T @ fitted.factor, np.cov(features.T.astype(float)), rtol=1e-9, atol=1e-12)
