"""What the four denoisers promise: what is clean stays clean, what is told apart stays apart."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax import denoisers, diffusion, weights
from leo_jax.denoisers import Motion, Sampling, Statistics, Transition, describe, from_description, inputs_of
from leo_jax.models.unet import UNet
from tests import small_denoisers as small


class Spy(UNet):
    """Stands in for a network: notes in `SHOWN` what it is shown, and answers that there is no noise."""

    def apply(self, variables, x, t, *condition):
        SHOWN.append((np.asarray(x), np.asarray(t)))
        return jnp.zeros_like(x)


SHOWN = []


@pytest.fixture
def spy():
    SHOWN.clear()
    return Spy(out_channels=small.DIM)


def windows(count=3, length=small.LENGTH):
    return jnp.asarray(np.random.default_rng(0).normal(size=(count, length, small.DIM)), jnp.float32)


def initial(denoiser, seed=0):
    """Parameters without a zero among them, so that all inputs matter."""
    rng = np.random.default_rng(seed)
    shapes = weights.shapes_of(denoiser.module, *inputs_of(denoiser))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, jnp.float32), shapes)


def condition_for(denoiser, count, seed=0):
    draw = lambda *shape: jnp.asarray(np.random.default_rng(seed).normal(size=(count, *shape)), jnp.float32)
    if denoiser.stage == "motion":
        return draw(small.DIM) if denoiser.lmc else None
    return {"start": lambda: None, "transition": lambda: draw(2, small.DIM), "first_frame": lambda: draw(small.DIM)}[
        denoiser.stage
    ]()


def test_motion_shows_alpha_1_clean_at_the_first_place_and_noised_codes_after(spy):
    codes = windows()
    loss = Motion(spy, length=small.LENGTH).loss({}, {"codes": codes}, jax.random.key(0))
    ((shown, t),) = SHOWN
    np.testing.assert_array_equal(shown[:, 0], codes[:, 0], "alpha_1 is noised")
    schedule = diffusion.make_schedule("linear")
    drawn_t, noise = diffusion.draw(schedule, jax.random.key(0), (3, small.LENGTH - 1, small.DIM))
    m = codes[:, 1:] - codes[:, :1]
    np.testing.assert_array_equal(t, drawn_t)
    np.testing.assert_allclose(shown[:, 1:] - shown[:, :1], diffusion.q_sample(schedule, m, drawn_t, noise), atol=1e-5)
    np.testing.assert_allclose(
        loss, np.square(noise).mean((1, 2)), rtol=1e-5, err_msg="an answer of 0 misses the noise"
    )


def test_motion_without_the_condition_noises_every_place(spy):
    codes = windows()
    Motion(spy, length=small.LENGTH, lmc=False).loss({}, {"codes": codes}, jax.random.key(0))
    ((shown, _),) = SHOWN
    assert shown.shape == codes.shape
    assert np.all(np.abs(shown - codes).max((0, 2)) > 1e-3), "a place is left clean"


def test_transition_shows_both_ends_clean_and_residuals_to_the_first(spy):
    codes = windows()
    Transition(spy, length=small.LENGTH).loss({}, {"codes": codes}, jax.random.key(0))
    ((shown, _),) = SHOWN
    np.testing.assert_array_equal(shown[:, [0, -1]], codes[:, [0, -1]])
    assert np.all(np.abs(shown - codes)[:, 1:-1].max((0, 2)) > 1e-3)
    Transition(spy, length=small.LENGTH).loss({}, {"codes": codes + 5.0}, jax.random.key(0))
    np.testing.assert_allclose(SHOWN[1][0], shown + 5.0, atol=1e-5, err_msg="residuals depend on where they begin")


def test_what_is_given_is_kept_exactly_in_samples():
    denoiser, length = dataclasses.replace(small.motion(), length=6), 6
    keys, start = jax.random.split(jax.random.key(0), 3), condition_for(denoiser, 3)
    made = jax.jit(lambda p: denoiser.sample(p, keys, start, Sampling(3)))(initial(denoiser))
    assert made.shape == (3, length, small.DIM)
    np.testing.assert_array_equal(made[:, 0], start)
    bridge = dataclasses.replace(small.transition(), length=length)
    ends = condition_for(bridge, 3)
    made = jax.jit(lambda p: bridge.sample(p, keys, ends, Sampling(3)))(initial(bridge))
    assert made.shape == (3, length, small.DIM)
    np.testing.assert_array_equal(made[:, [0, -1]], ends)


def test_perfect_answers_give_back_the_motion():
    """A network that knows the noise exactly: one DDIM step from any noise must end at a_1 + m."""
    codes = windows(2)
    target = codes[:, 1:] - codes[:, :1]

    class Oracle(UNet):
        def apply(self, variables, x, t, *condition):
            a = diffusion.make_schedule("linear").alphas_cumprod.astype(np.float32)[np.asarray(t)][:, None, None]
            noise = (x[:, 1:] - x[:, :1] - np.sqrt(a) * target) / np.sqrt(1 - a)
            return jnp.concatenate([jnp.zeros_like(x[:, :1]), noise], 1)

    with jax.disable_jit():
        made = Motion(Oracle(out_channels=small.DIM), length=small.LENGTH).sample(
            {}, jax.random.split(jax.random.key(1), 2), codes[:, 0], Sampling(4)
        )
    np.testing.assert_allclose(made, codes, atol=2e-3)


@pytest.mark.parametrize("name", small.ALL)
def test_a_sample_is_a_function_of_its_key_and_condition(name):
    denoiser = small.ALL[name]
    params, keys = initial(denoiser), jax.random.split(jax.random.key(7), 4)
    condition = condition_for(denoiser, 4)
    sample = jax.jit(lambda params, keys, condition: denoiser.sample(params, keys, condition, Sampling(3)))
    whole = np.asarray(sample(params, keys, condition))
    assert np.all(np.isfinite(whole)) and not np.allclose(whole[0], whole[1])
    part = sample(params, keys[2:3], None if condition is None else condition[2:3])
    np.testing.assert_allclose(part[0], whole[2], atol=1e-5, err_msg="the batch or the place in it enters a sample")


@pytest.mark.parametrize("name", small.ALL)
def test_bounded_samples_stay_inside(name):
    """Or as far out as the code that they start from."""
    denoiser, keys = small.ALL[name], jax.random.split(jax.random.key(7), 4)
    condition = condition_for(denoiser, 4)
    draw = lambda bound: np.asarray(denoiser.sample(initial(denoiser), keys, condition, Sampling(3, bound=bound)))
    assert np.abs(draw(0.0)).max() > 0.5, "the bound has nothing to do here"
    reach = np.full(4, 0.1)
    if condition is not None and name in ("motion", "transition"):
        reach = np.maximum(reach, np.abs(condition).reshape(4, -1).max(1))
    assert np.all(np.abs(draw(0.1)).reshape(4, -1).max(1) <= reach + 1e-5)


def test_a_denoiser_samples_as_it_says_unless_told_otherwise():
    keys, plain = jax.random.split(jax.random.key(7), 2), small.start()
    noisy = dataclasses.replace(plain, eta=1.0, bound=0.1)
    draw = lambda denoiser, **how: np.asarray(denoiser.sample(initial(plain), keys, None, Sampling(4, **how)))
    np.testing.assert_array_equal(draw(noisy), draw(plain, eta=1.0, bound=0.1))
    np.testing.assert_array_equal(draw(noisy, eta=0.0, bound=0.0), draw(plain))
    assert not np.allclose(draw(noisy), draw(plain)) and not np.allclose(draw(noisy), draw(noisy, eta=0.0))
    again = denoisers.from_description(json.loads(json.dumps(denoisers.describe(noisy))))
    assert (again.eta, again.bound) == (1.0, 0.1)


@pytest.mark.parametrize("name", small.ALL)
def test_every_denoiser_can_predict_the_velocity(name):
    """An answer of 0 is then a guess of the data, x_0 = sqrt(ā_t)·x_t, and not of no noise."""
    denoiser = dataclasses.replace(small.ALL[name], prediction="velocity")
    zeros = jax.tree.map(jnp.zeros_like, initial(denoiser))
    keys, condition = jax.random.split(jax.random.key(7), 4), condition_for(denoiser, 4)
    drawn = np.asarray(denoiser.sample(zeros, keys, condition, Sampling(50)))
    assert np.abs(drawn).max() < 5
    without = np.asarray(small.ALL[name].sample(zeros, keys, condition, Sampling(50)))
    assert np.abs(without).max() > 20
    assert from_description(json.loads(json.dumps(describe(denoiser)))) == denoiser


def test_motion_wants_a_start_exactly_with_the_condition():
    keys, start = jax.random.split(jax.random.key(0), 1), jnp.zeros((1, small.DIM))
    with pytest.raises(ValueError, match="lmc=True takes a start code"):
        small.motion().sample({}, keys)
    with pytest.raises(ValueError, match="lmc=False takes no start code"):
        small.motion(lmc=False).sample({}, keys, start)


@pytest.mark.parametrize("name", small.ALL)
def test_descriptions_give_the_same_denoiser(name):
    denoiser = small.ALL[name]
    read = json.loads(json.dumps(describe(denoiser)))
    assert from_description(read) == denoiser
    assert from_description(read, dtype=jnp.bfloat16).module.dtype == jnp.bfloat16


def test_unknown_descriptions_are_named():
    with pytest.raises(ValueError, match=r"stage 'dance'.*motion"):
        from_description({"stage": "dance", "network": {}})


def test_statistics_standardise_and_restore():
    codes = np.random.default_rng(0).normal([3, -1], [0.1, 20], (500, 2)).astype(np.float32)
    statistics = Statistics(jnp.asarray(codes.mean(0)), jnp.asarray(codes.std(0)))
    standard = statistics.standardise(jnp.asarray(codes))
    np.testing.assert_allclose([standard.mean(0), standard.std(0)], [[0, 0], [1, 1]], atol=1e-4)
    np.testing.assert_allclose(statistics.restore(standard), codes, rtol=1e-4, atol=1e-4)


def test_kinds_are_the_stages():
    assert list(denoisers.KINDS) == ["motion", "start", "transition", "first_frame"]
