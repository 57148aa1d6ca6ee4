import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.training.updates import falling


@pytest.mark.parametrize("count, expected", [(0, 1.0), (6, 1.0), (7, 0.75), (9, 0.25), (10, 0.0), (12, 0.0)])
def test_the_rate_falls_to_zero_over_the_last_steps(count, expected):
    # Four last steps of ten: the update after `count` others is the last full one at count 6.
    assert falling(jnp.int32(count), 10, 4) == pytest.approx(expected)


def test_a_short_training_falls_all_the_way():
    assert [float(falling(jnp.int32(count), 4, 500)) for count in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_without_falloff_the_rate_stays():
    assert [float(falling(jnp.int32(count), 10, 0)) for count in (0, 9, 10, 1000)] == [1.0] * 4


def test_the_last_update_still_moves():
    factors = np.asarray([falling(jnp.int32(count), 10, 10) for count in range(10)])
    assert factors[0] == 1 and np.all(np.diff(factors) < 0) and factors[-1] > 0
