"""A form is chosen by the platform, for the value and for the gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.ops.platforms import by_platform


def test_the_cpus_form_is_taken_here():
    x = jnp.arange(3, dtype=jnp.float32)
    chosen = by_platform(lambda x: 100 * x, cpu=lambda x: x * x, tpu=lambda x: -x)
    np.testing.assert_array_equal(jax.jit(chosen)(x), x * x)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(chosen(x)))(x), 2 * x)
    default = by_platform(lambda x, y: x * y, tpu=lambda x, y: x)
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(default(x, x)))(x), 2 * x)


def test_a_compiled_program_has_only_its_platforms_form():
    chosen = by_platform(jnp.sin, cpu=jnp.cos)
    text = jax.jit(chosen).lower(jnp.ones(3, jnp.float32)).compile().as_text()
    assert "cosine" in text and "sine(" not in text.replace("cosine(", "")
