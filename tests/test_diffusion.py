"""Diffusion: golden tables and one-step quantities, and what sampling must do whatever the network."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax import diffusion
from tests.goldens import seeded

GOLDEN = np.load(pathlib.Path(__file__).parent / "goldens" / "unet1d_64x20.npz")
SCHEDULE = diffusion.linear_schedule()


def relative(got, want):
    return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


def golden_step():
    """x, t and the network's eps, as jax arrays."""
    return jnp.asarray(GOLDEN["x"]), jnp.asarray(GOLDEN["t"], jnp.int32), jnp.asarray(GOLDEN["eps"])


def gaussian_denoiser(schedule, mean, deviation):
    """The exact noise prediction for data N(mean, deviation²): what a perfect network would give."""
    a = jnp.asarray(diffusion.linear_schedule().alphas_cumprod, jnp.float32)

    def denoise(x, t):
        at = a[t].reshape((-1,) + (1,) * (x.ndim - 1))
        return jnp.sqrt(1 - at) * (x - jnp.sqrt(at) * mean) / (at * deviation**2 + 1 - at)

    return denoise


@pytest.mark.parametrize(
    "name", ["alphas_cumprod", "posterior_variance", "posterior_mean_coef1", "posterior_mean_coef2"]
)
def test_tables_are_the_golden_ones(name):
    np.testing.assert_allclose(getattr(SCHEDULE, name), GOLDEN[name], rtol=1e-6, atol=1e-12)


def test_betas_are_the_golden_ones():
    np.testing.assert_allclose(SCHEDULE.betas, GOLDEN["betas_linear"], rtol=1e-6)
    np.testing.assert_allclose(diffusion.cosine_schedule().betas, GOLDEN["betas_cosine"], rtol=1e-6)


def test_one_step_quantities_are_the_golden_ones():
    x, t, eps = golden_step()
    noise = jnp.asarray(seeded.tensor("noise", x.shape, 0))
    assert relative(diffusion.q_sample(SCHEDULE, x, t, noise), GOLDEN["q_sample"]) < 1e-6
    x0 = diffusion.predict_x0(SCHEDULE, x, t, eps)
    assert relative(x0, GOLDEN["pred_x0"]) < 1e-6
    assert relative(diffusion.posterior_mean(SCHEDULE, x0, x, t), GOLDEN["p_mean"]) < 1e-6
    assert relative(SCHEDULE.log_variance[GOLDEN["t"]], GOLDEN["p_log_variance_fixed_large"]) < 1e-6


def test_predicting_x0_undoes_noising():
    x0, t, noise = golden_step()
    x = diffusion.q_sample(SCHEDULE, x0, t, noise)
    # At large t the noise drowns x0, and float32 gives it back to 1/sqrt(ā) of its precision.
    np.testing.assert_allclose(diffusion.predict_x0(SCHEDULE, x, t, noise), x0, atol=2e-4)


def test_respacing_keeps_the_noise_levels():
    walked = diffusion.respace(SCHEDULE, 20)
    np.testing.assert_array_equal(walked.timesteps, GOLDEN["ddim20_timesteps"])
    np.testing.assert_allclose(walked.alphas_cumprod, SCHEDULE.alphas_cumprod[walked.timesteps], rtol=1e-12)
    whole = diffusion.respace(SCHEDULE, 1000)
    np.testing.assert_allclose(whole.betas, SCHEDULE.betas, rtol=1e-9)
    np.testing.assert_array_equal(diffusion.respace(SCHEDULE, 7).timesteps, [i * 1000 // 7 for i in range(7)])


@pytest.mark.parametrize("steps", [0, 1001])
def test_respacing_refuses_more_steps_than_there_are(steps):
    with pytest.raises(ValueError, match=r"1 … 1000"):
        diffusion.respace(SCHEDULE, steps)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'quadratic'"):
        diffusion.make_schedule("quadratic")
    with pytest.raises(ValueError, match="'euler'"):
        diffusion.sample(SCHEDULE, lambda x, t: x, jax.random.split(jax.random.key(0), 2), (3,), sampler="euler")
    with pytest.raises(ValueError, match="more steps"):
        diffusion.linear_schedule(10)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"sampler": "ddim", "steps": 100}, 0.05),
        ({"sampler": "ddim", "steps": 100, "eta": 1.0}, 0.05),
        ({"sampler": "ddpm", "steps": 1000}, 0.03),
    ],
)
def test_a_perfect_denoiser_gives_the_data_distribution(options, tolerance):
    mean, deviation, number = 1.5, 0.4, 4096
    denoise = gaussian_denoiser(SCHEDULE, mean, deviation)
    keys = jax.random.split(jax.random.key(1), number)
    x = np.asarray(jax.jit(lambda k: diffusion.sample(SCHEDULE, denoise, k, (4,), **options))(keys))
    np.testing.assert_allclose(x.mean(0), mean, atol=4 * deviation / np.sqrt(number) + 0.01)
    np.testing.assert_allclose(x.std(0), deviation, rtol=tolerance + 4 / np.sqrt(2 * number))
    # One noise shared by all samples, or by all steps, would give correlated entries.
    assert np.abs(np.corrcoef(x.T) - np.eye(4)).max() < 4.5 / np.sqrt(number)


def gaussian_velocity(schedule, mean, deviation):
    """The exact velocity prediction for data N(mean, deviation²)."""
    a, denoise = schedule.alphas_cumprod, gaussian_denoiser(schedule, mean, deviation)

    def predict(x, t):
        at = jnp.asarray(a, jnp.float32)[t].reshape((-1,) + (1,) * (x.ndim - 1))
        return (denoise(x, t) - jnp.sqrt(1 - at) * x) / jnp.sqrt(at)

    return predict


@pytest.mark.parametrize("steps", [1000, 25])
def test_a_perfect_velocity_is_a_perfect_denoiser(steps):
    """Also where the schedule is respaced, and told the original steps."""
    keys = jax.random.split(jax.random.key(1), 8)
    draw = lambda denoise: np.asarray(diffusion.sample(SCHEDULE, denoise, keys, (4,), steps=steps))
    direct = draw(gaussian_denoiser(SCHEDULE, 1.5, 0.4))
    by_velocity = draw(diffusion.by_velocity(SCHEDULE, gaussian_velocity(SCHEDULE, 1.5, 0.4)))
    np.testing.assert_allclose(by_velocity, direct, atol=2e-3)


def test_the_velocitys_loss_is_the_noises_over_the_signal():
    t = jnp.asarray([0, 250, 600, 999], jnp.int32)
    x0, noise = (jax.random.normal(jax.random.key(i), (4, 6, 3)) for i in (0, 1))
    predict = lambda x, t: jnp.sin(3 * x)
    loss = diffusion.velocity_loss(SCHEDULE, predict, x0, t, noise)
    of_noise = diffusion.epsilon_loss(SCHEDULE, diffusion.by_velocity(SCHEDULE, predict), x0, t, noise)
    np.testing.assert_allclose(loss, of_noise / SCHEDULE.alphas_cumprod[np.asarray(t)], rtol=1e-3)


def test_a_small_error_of_the_velocity_stays_small():
    """Where the same error of the noise throws x_0 far out: what velocities are for."""
    t, x = jnp.asarray([500, 999], jnp.int32), jax.random.normal(jax.random.key(0), (2, 4))
    exact, velocity = gaussian_denoiser(SCHEDULE, 0.0, 1.0), gaussian_velocity(SCHEDULE, 0.0, 1.0)
    x0 = lambda denoise: np.asarray(diffusion.predict_x0(SCHEDULE, x, t, denoise(x, t)))
    wrong = x0(diffusion.by_velocity(SCHEDULE, lambda x, t: velocity(x, t) + 0.1)) - x0(exact)
    assert np.abs(wrong).max() < 0.101
    assert np.abs(x0(lambda x, t: exact(x, t) + 0.1) - x0(exact))[1].min() > 10


@pytest.mark.parametrize("options", [{"eta": 0.0}, {"eta": 0.7}, {"sampler": "ddpm"}])
def test_a_sample_depends_on_its_own_key_only(options):
    denoise = gaussian_denoiser(SCHEDULE, 0.0, 1.0)

    def draw(keys):
        return diffusion.sample(SCHEDULE, denoise, keys, (5, 3), steps=10, **options)

    keys = jax.random.split(jax.random.key(2), 4)
    together = draw(keys)
    alone = jnp.concatenate([draw(keys[i : i + 1]) for i in (3, 0)])
    np.testing.assert_allclose(alone, together[jnp.asarray([3, 0])], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.1, "different keys gave the same sample"
    np.testing.assert_array_equal(draw(jax.random.key_data(keys)), together)


def test_ddim_of_one_step_is_the_predicted_x0():
    start = diffusion.normal(jax.random.split(jax.random.key(3), 2), (6,), 0)
    walked = diffusion.respace(SCHEDULE, 1)
    got = diffusion.ddim(walked, lambda x, t: 0.5 * x, start)
    want = diffusion.predict_x0(walked, start, jnp.zeros(2, jnp.int32), 0.5 * start)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_the_network_is_told_the_original_timesteps():
    # It answers with t/1000; from x = 0 and one step at a time the walk is known in closed form.
    walked = diffusion.respace(SCHEDULE, 3)
    got = diffusion.ddim(
        walked, lambda x, t: jnp.zeros_like(x) + (t / 1000).astype(x.dtype)[:, None], jnp.zeros((1, 1))
    )
    x = 0.0
    for i in (2, 1, 0):
        a, before, eps = walked.alphas_cumprod[i], walked.alphas_cumprod_prev[i], walked.timesteps[i] / 1000
        x = np.sqrt(before) * (x - np.sqrt(1 - a) * eps) / np.sqrt(a) + np.sqrt(1 - before) * eps
    np.testing.assert_allclose(got, x, rtol=1e-5)


def test_nothing_is_clipped_unless_asked():
    denoise = gaussian_denoiser(SCHEDULE, 3.0, 0.1)
    keys = jax.random.split(jax.random.key(4), 8)
    assert diffusion.sample(SCHEDULE, denoise, keys, (2,), steps=20).min() > 2
    for sampler in ("ddim", "ddpm"):
        clipped = diffusion.sample(SCHEDULE, denoise, keys, (2,), steps=20, clip=1.0, sampler=sampler)
        assert 0 < clipped.min() and clipped.max() <= 1.0 + 1e-6


def test_eta_needs_keys():
    with pytest.raises(ValueError, match="pass keys"):
        diffusion.ddim(SCHEDULE, lambda x, t: x, jnp.zeros((1, 2)), eta=1.0)


def test_loss_is_zero_for_the_true_noise_and_one_for_silence():
    x0, t, _ = golden_step()
    noise = jnp.asarray(seeded.tensor("noise", x0.shape, 0))
    np.testing.assert_array_equal(diffusion.epsilon_loss(SCHEDULE, lambda x, t: noise, x0, t, noise), np.zeros(3))
    silent = diffusion.epsilon_loss(SCHEDULE, lambda x, t: jnp.zeros_like(x), x0, t, noise)
    np.testing.assert_allclose(silent, np.square(noise).mean((1, 2)), rtol=1e-6)


def test_training_draws_cover_all_steps():
    t, noise = diffusion.draw(SCHEDULE, jax.random.key(5), (20_000, 2))
    assert t.min() == 0 and t.max() == 999
    assert abs(t.mean() - 499.5) < 4 * 289 / np.sqrt(20_000)
    assert abs(noise.std() - 1) < 0.02
    again, _ = diffusion.draw(SCHEDULE, jax.random.key(5), (20_000, 2))
    np.testing.assert_array_equal(t, again)


def test_sample_draws_from_its_own_key():
    keys = jax.random.split(jax.random.key(5), 20_000)
    t, noise = diffusion.draw(SCHEDULE, keys, (20_000, 2))
    assert t.min() == 0 and t.max() == 999 and abs(t.mean() - 499.5) < 4 * 289 / np.sqrt(20_000)
    assert abs(noise.std() - 1) < 0.02
    some, raw = (diffusion.draw(SCHEDULE, k, (2, 2)) for k in (keys[7:9], jax.random.key_data(keys[7:9])))
    for got, want in zip(some, (t[7:9], noise[7:9]), strict=True):
        np.testing.assert_array_equal(got, want, "a sample's draw depends on its batch")
    np.testing.assert_array_equal(raw[0], some[0])
