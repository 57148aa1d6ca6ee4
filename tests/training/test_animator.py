"""What the animator's training sees of a batch, and what it measures on held-out pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax import api
from leo_jax.models.animator import Animator
from leo_jax.models.apply import apply
from leo_jax.ops import colour, crop
from leo_jax.training.animator import frames_of, make_evaluation, to_float
from tests.tiny_model import random_params

ANIMATOR = Animator(size=8, width=1 / 64, code_dim=3)


@pytest.fixture(scope="module")
def params():
    return random_params(api.shapes_of(ANIMATOR), seed=4, scale=1.0)


@pytest.fixture(scope="module")
def pairs(params):
    """(source, driving, the moving region, what the animator draws): five pairs of bytes, and its images in [-1, 1]."""
    random = np.random.default_rng(0)
    source, driving = random.integers(0, 256, (2, 5, 8, 8, 3), np.uint8)
    moving = random.random((5, 8, 8)) < [[[0.1]], [[0.9]], [[0.5]], [[0.0]], [[0.3]]]  # of very different sizes
    draw = jax.jit(lambda params, x, y: apply(ANIMATOR, params, x, y).image)
    fake = np.asarray(draw(params, *((images / 127.5 - 1).astype(np.float32) for images in (source, driving))))
    assert np.abs(fake).max() > 1.1, "nothing is clamped"
    return source, driving, moving, np.clip(fake, -1, 1).astype(float)


def expected(pairs):
    """The results from their definition: pixels lie in [0, 1] there, and a region's mean is over all its pixels."""
    source, driving, moving, fake = pairs
    error = np.abs((fake + 1) / 2 - driving / 255).mean(-1)
    copy = np.abs(source / 255 - driving / 255).mean(-1)
    whole = {"l1": error.mean(), "l1_copy": copy.mean(), "ratio": error.mean() / copy.mean()}
    error, copy = error[moving].mean(), copy[moving].mean()
    region = {"moving_l1": error, "moving_l1_copy": copy, "moving_ratio": error / copy}
    return [{f"heldout/{name}": value for name, value in part.items()} for part in (whole, region)]


def test_heldout_pairs_are_measured_by_definition(params, pairs):
    """They come in several batches, of which the last is smaller and weighs less."""
    source, driving, moving, _ = pairs
    whole, region = expected(pairs)
    state = {"generator": {"params": params}}
    found = make_evaluation(ANIMATOR, source, driving, moving, batch_size=4)(state, ())
    assert found == pytest.approx(whole | region, rel=1e-5)


def test_without_a_region_whole_frames_are_measured_and_the_running_mean_if_there_is_one(params, pairs):
    source, driving, _, _ = pairs
    state = {"generator": {"params": jax.tree.map(np.zeros_like, params)}, "ema": params}
    whole, _ = expected(pairs)
    assert make_evaluation(ANIMATOR, source, driving)(state, ()) == pytest.approx(whole, rel=1e-5)


def test_both_frames_are_cropped_and_recoloured_as_the_batch_says(pairs):
    batch = {"source": jnp.asarray(pairs[0]), "driving": jnp.asarray(pairs[1])}
    amounts = jax.random.uniform(jax.random.key(1), (5, 4), minval=-0.1, maxval=0.1)
    squares = jnp.asarray([[i, 4 - i, ANIMATOR.size - 4] for i in range(5)], jnp.float32)
    size = ANIMATOR.size
    plain = frames_of(batch, size)
    coloured = frames_of({**batch, "colour": amounts}, size)
    both = frames_of({**batch, "colour": amounts, "square": squares}, size)
    for i, name in enumerate(batch):
        np.testing.assert_array_equal(plain[i], to_float(batch[name]))
        np.testing.assert_array_equal(coloured[i], colour.change(plain[i], amounts))
        np.testing.assert_array_equal(both[i], colour.change(crop.resized(plain[i], squares, size), amounts))
        assert np.abs(coloured[i] - plain[i]).mean() > 0.02 and np.abs(both[i] - coloured[i]).mean() > 0.02
