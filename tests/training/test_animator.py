"""What the animator's training sees of a batch, and what it measures on held-out pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from leo_jax import api
from leo_jax.checkpoints import Checkpoints
from leo_jax.models.animator import Animator
from leo_jax.models.apply import apply
from leo_jax.ops import colour, crop
from leo_jax.training.animator import MUON_RMS, Settings, frames_of, make_evaluation, make_task, optimiser, to_float
from tests.tiny_model import random_params

ANIMATOR = Animator(size=8, width=1 / 64, code_dim=3)
WIDER = Animator(size=8, width=1 / 16, code_dim=3)  # wide enough for kernels that are not narrow


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


def first_updates(rule, gradients):
    """The first update of each array, by its path."""
    made, _ = rule.update(gradients, rule.init(gradients), gradients)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(made)}


def test_muon_makes_the_update_of_a_kernel_orthogonal_and_leaves_the_rest_to_adam():
    gradients = random_params(api.shapes_of(WIDER), seed=5, scale=1.0)
    muon = first_updates(optimiser(0.01, 1.0, 0.9, 0.99, kind="muon"), gradients)
    with jax.numpy_dtype_promotion("standard"):
        adam = first_updates(optax.adam(0.01, 0.9, 0.99, eps=1e-8, nesterov=True), gradients)
    changed = {name for name in muon if not np.allclose(muon[name], adam[name], rtol=1e-4)}
    narrow = {name for name, x in adam.items() if min(np.prod(x.shape[:-1]), x.shape[-1]) < 16}
    assert changed == {name for name in adam if name.endswith("['kernel']")} - narrow
    assert "['encoder']['trunk']['entry']['kernel']" not in changed and len(changed) > 10
    for name in changed:
        matrix = muon[name].reshape(-1, muon[name].shape[-1])
        singular = np.linalg.svd(matrix / (0.01 * MUON_RMS * np.sqrt(max(matrix.shape))), compute_uv=False)
        assert 0.6 < np.quantile(singular, 0.1) and singular.max() < 1.3, f"{name}: {singular}"


def test_muon_trains_falls_off_and_goes_on_from_a_checkpoint(tmp_path):
    """A step after saving and restoring is the step without; the last one, where the rate has fallen to 0, changes nothing."""
    settings = Settings(
        perceptual="pyramid_l1", adversarial_weight=0.0, optimiser="muon", ema_decay=0.9, steps=4, falloff=2
    )
    task = make_task(WIDER, None, settings)
    random = np.random.default_rng(1)
    batch = {name: jnp.asarray(random.integers(0, 256, (2, 8, 8, 3), np.uint8)) for name in ("source", "driving")}
    step = jax.jit(lambda state: task.step(state, {}, batch, jax.random.key(0)))
    states = [task.init(jax.random.key(2))]
    losses = []
    for _ in range(5):
        state, metrics = step(states[-1])
        states.append(state)
        losses.append(float(metrics["loss"]))
    assert losses[4] < losses[0]
    for before, after in zip(*(jax.tree.leaves(s["generator"]["params"]) for s in states[4:6]), strict=True):
        np.testing.assert_array_equal(before, after)
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(2, states[2], {})
    with Checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(task.init, jax.random.key(2))).state
    jax.tree.map(np.testing.assert_array_equal, step(restored)[0], states[3])


def test_an_unknown_optimiser_is_refused_by_name():
    with pytest.raises(ValueError, match="optimiser = 'sgd': one of adam, muon"):
        Settings(optimiser="sgd")
