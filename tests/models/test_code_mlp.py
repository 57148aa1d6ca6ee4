"""The start-code denoiser learns a distribution of codes, and treats each code alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from leo_jax import diffusion
from leo_jax.models.code_mlp import CodeMLP

KEY = jax.random.key(0)


def test_starts_by_predicting_no_noise_and_gives_float32():
    x, t = jax.random.normal(KEY, (3, 20)), jnp.asarray([0, 5, 999])
    for dtype in (jnp.float32, jnp.bfloat16):
        module = CodeMLP(width=32, dtype=dtype)
        eps = module.apply(module.init(KEY, x, t), x, t)
        assert eps.shape == (3, 20) and eps.dtype == jnp.float32
        np.testing.assert_array_equal(eps, 0)


def test_learns_two_clusters():
    """Codes near ±2 on a line: samples must fall on both sides, near them, and hardly between."""
    module, schedule = CodeMLP(width=64, num_blocks=2), diffusion.linear_schedule()
    variables = module.init(KEY, jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32))
    optimiser = optax.adam(3e-3)

    def loss(variables, key):
        side, spread, noising = jax.random.split(key, 3)
        x0 = jnp.where(jax.random.bernoulli(side, shape=(256, 1)), 2.0, -2.0) * jnp.asarray([[1.0, -0.5]])
        x0 = x0 + 0.1 * jax.random.normal(spread, x0.shape)
        t, noise = diffusion.draw(schedule, noising, x0.shape)
        return diffusion.epsilon_loss(schedule, functools.partial(module.apply, variables), x0, t, noise).mean()

    @jax.jit
    def train(variables):
        def step(carry, key):
            variables, state = carry
            updates, state = optimiser.update(jax.grad(loss)(variables, key), state)
            return (optax.apply_updates(variables, updates), state), None

        keys = jax.random.split(jax.random.key(1), 800)
        return jax.lax.scan(step, (variables, optimiser.init(variables)), keys)[0][0]

    @jax.jit
    def sample(variables, keys):
        return diffusion.sample(schedule, functools.partial(module.apply, variables), keys, (2,), steps=50)

    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in integers
        trained = train(variables)
    x = np.asarray(sample(trained, jax.random.split(jax.random.key(2), 512)))
    assert 0.35 < (x[:, 0] > 0).mean() < 0.65, "one cluster is lost"
    distance = np.abs(np.abs(x[:, 0]) - 2)
    assert np.median(distance) < 0.3 and (distance > 1).mean() < 0.1, "samples lie between the clusters"
    assert np.abs(x[:, 1] + x[:, 0] / 2).mean() < 0.25, "the two coordinates are not tied"
