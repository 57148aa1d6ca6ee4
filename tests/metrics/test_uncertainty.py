"""Error bars hold what they promise on Gaussians whose true distances are known."""

import numpy as np
import pytest

from leo_jax.metrics import uncertainty
from leo_jax.metrics.frechet import frechet_distance


def gaussian(seed, n, d, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


@pytest.mark.parametrize("n", [20, 300])
def test_the_quick_way_agrees_with_the_exact(n):
    real, fake = gaussian(0, n, 40), 1.3 * gaussian(1, n, 40, 0.2)
    np.testing.assert_allclose(uncertainty.estimate(real, fake, 1), frechet_distance(real, fake), rtol=1e-6)


def test_weights_are_repetitions():
    real, fake = gaussian(0, 90, 8), gaussian(1, 60, 8, 0.5)
    times = np.random.default_rng(2).integers(0, 4, 90)
    expected = frechet_distance(np.repeat(real, times, axis=0), fake)
    np.testing.assert_allclose(uncertainty.estimate(real, fake, 1, times, np.ones(60)), expected, rtol=1e-6)


def test_bootstrap_tells_the_true_standard_error():
    """The spread of FVD over fresh pairs of sets, against what one pair's bootstrap says."""
    values = [frechet_distance(gaussian(i, 400, 4), gaussian(1000 + i, 400, 4, 1.0)) for i in range(200)]
    told = uncertainty.bootstrap(
        gaussian(0, 400, 4), np.arange(400), gaussian(1000, 400, 4, 1.0), np.arange(400), ddof=1, draws=200, seed=0
    )
    np.testing.assert_allclose(told["fvd"], np.std(values), rtol=0.25)


def test_clips_of_one_source_are_drawn_together():
    """Ten copies of each video tell no more than one: drawn singly, the error would look 3 times smaller."""
    real, fake = gaussian(0, 100, 4), gaussian(1, 100, 4, 1.0)
    copies, groups = np.repeat(fake, 10, axis=0), np.repeat(np.arange(100), 10)
    options = {"ddof": 1, "draws": 150, "seed": 0}
    honest = uncertainty.bootstrap(real, np.arange(100), copies, groups, **options)["fvd"]
    single = uncertainty.bootstrap(real, np.arange(100), fake, np.arange(100), **options)["fvd"]
    singly = uncertainty.bootstrap(real, np.arange(100), copies, np.arange(1000), **options)["fvd"]
    np.testing.assert_allclose(honest, single, rtol=0.3)
    assert singly < 0.85 * honest


def test_floor_is_what_the_number_of_clips_alone_costs():
    real = gaussian(0, 400, 10)
    found = uncertainty.floor(real, np.arange(400), gaussian(1, 400, 10, 0.5), ddof=1, most=2048, draws=5, seed=0)
    same, other = found["floor"]["fvd"], found["fake"]["fvd"]
    assert same.clips == other.clips == 200, "half against half"
    fresh = frechet_distance(gaussian(5, 200, 10), gaussian(6, 200, 10))
    np.testing.assert_allclose(same.mean, fresh, rtol=0.4)
    np.testing.assert_allclose(other.mean - same.mean, 10 * 0.5**2, rtol=0.25)
    assert abs(found["floor"]["kvd"].mean) < 0.1 * found["fake"]["kvd"].mean, "the kernel distance has no floor"


def test_halves_share_no_source():
    """Two sources, far apart: if the halves mixed them, the floor would be near zero."""
    real = np.concatenate([gaussian(0, 50, 3), gaussian(1, 50, 3, 20.0)])
    found = uncertainty.floor(real, np.repeat([0, 1], 50), real, ddof=1, most=50, draws=3, seed=0)
    assert found["floor"]["fvd"].mean > 1000


def test_extrapolation_takes_the_bias_away():
    """Equal distributions: the true FVD is 0, at N = 400 it is far above."""
    real, fake = gaussian(0, 1200, 30), gaussian(1, 1200, 30)
    line = uncertainty.extrapolate(real, fake, ddof=1, seed=0)
    biased = frechet_distance(real, fake)
    assert line.sizes[0] == 1200 and line.sizes[-1] == 300 and line.slope > 0
    assert abs(line.limit) < 0.25 * biased
    assert 0 < line.error < biased


@pytest.mark.parametrize(
    "call",
    [
        lambda x: uncertainty.floor(x, np.zeros(9, int), x, ddof=1, most=9, draws=1, seed=0),
        lambda x: uncertainty.bootstrap(x, np.zeros(9, int), x, np.arange(9), ddof=1, draws=1, seed=0),
        lambda x: uncertainty.extrapolate(x[:3], x[:3], ddof=1, seed=0),
    ],
)
def test_refuses_what_cannot_be_told(call):
    with pytest.raises(ValueError, match=r"two or more source|too few"):
        call(gaussian(0, 9, 2))
