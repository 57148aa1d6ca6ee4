"""Distances, repetition and diversity of motion codes on sequences whose answer is known."""

import numpy as np
import pytest

from leo_jax.metrics import codes


def walks(number, length=96, seed=0, speed=0.1, shift=0.0):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(number, length, 3)) * speed
    return list(rng.normal(size=(number, 1, 3)) + np.cumsum(steps, 1) + shift)


def test_windows_lie_side_by_side():
    sequence = np.arange(20.0).reshape(10, 2)
    found = codes.windows([sequence], 4)
    np.testing.assert_array_equal(found, sequence[:8].reshape(2, 8))
    assert len(codes.windows([sequence], 4, hop=1)) == 7
    with pytest.raises(ValueError, match=r"12 codes.*has 10"):
        codes.windows([sequence], 12)


def test_each_distance_sees_its_own_change():
    real = walks(200)
    same = codes.distances(real, walks(200, seed=1))
    moved = codes.distances(real, walks(200, seed=1, shift=2.0))
    hurried = codes.distances(real, walks(200, seed=1, speed=0.3))
    assert moved["codes/start"] > 10 * same["codes/start"] and moved["codes/windows"] > 10 * same["codes/windows"]
    assert moved["codes/velocities"] == pytest.approx(same["codes/velocities"]), "a shift is no velocity"
    assert hurried["codes/velocities"] > 10 * same["codes/velocities"]
    assert codes.distances(real, real)["codes/windows"] < 1e-9


def test_repetition_of_known_signals():
    time = np.arange(512)[:, None]
    period = np.concatenate([np.sin(2 * np.pi * time / 100), np.cos(2 * np.pi * time / 100)], 1)
    assert codes.repetition(period) > 0.99
    noise = np.random.default_rng(0).normal(size=(512, 20))
    assert codes.repetition(noise) < 0.3
    once = np.concatenate([noise[:192], noise[:192]])
    assert codes.repetition(once) > 0.99, "the second half repeats the first"
    assert codes.repetition(np.ones((200, 3))) == 0
    with pytest.raises(ValueError, match="need 129"):
        codes.repetition(period[:128])


def test_repetition_is_the_sum_it_says():
    x = np.random.default_rng(1).normal(size=(40, 3))
    centred = x - x.mean(0)

    def at(lag):
        a, b = centred[: len(x) - lag], centred[lag:]
        return np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))

    assert codes.repetition(x, beyond=5, overlap=8) == pytest.approx(max(at(lag) for lag in range(6, 33)))


def test_diversity_is_the_distance_between_sequences():
    pair = np.stack([np.zeros((5, 4)), np.full((5, 4), 3.0)])
    assert codes.diversity(pair) == pytest.approx(3.0)
    assert codes.diversity(np.ones((3, 5, 4))) == 0
    with pytest.raises(ValueError, match="at least 2"):
        codes.diversity(pair[:1])


def test_drift_is_how_far_a_sequence_has_gone():
    time = np.arange(30.0)
    still = np.stack([np.sin(2 * np.pi * time / 5)] * 2, -1)
    going = still + 0.1 * time[:, None] * np.array([1.0, 0.0])
    np.testing.assert_allclose(codes.drift(still[None], 10), 0, atol=1e-12)
    np.testing.assert_allclose(codes.drift(going[None], 10), np.array([0, 1, 2]) / np.sqrt(2))
    np.testing.assert_allclose(
        codes.drift(np.stack([going, still]), 12), np.array([0, 1.2]) / np.sqrt(2) / 2, atol=0.05
    )
    with pytest.raises(ValueError, match="30 codes: drift is told of at least two spans of 16"):
        codes.drift(still[None], 16)
