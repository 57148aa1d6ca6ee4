"""The U-Net: its size, its start, what conditions do, dtypes and its errors. Values: tests/convert/test_improved_diffusion.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.models.unet import GroupNorm, UNet, time_embedding

SMALL = {"out_channels": 4, "width": 32, "multipliers": (1, 2), "num_blocks": 1, "attention": (2,), "num_heads": 2}
KEY = jax.random.key(0)
X, T = jax.random.normal(KEY, (2, 8, 4)), jnp.asarray([3, 700])


def build(x=X, condition=None, labels=None, **fields):
    """A small network with weights of a trained one's size: as initialised its output is zero."""
    module, random = UNet(**(SMALL | fields)), np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, KEY, x, T, condition, labels)
    return module, jax.tree.map(lambda leaf: jnp.asarray(0.1 * random.standard_normal(leaf.shape), jnp.float32), shapes)


def run(module, *arguments):
    return jax.jit(module.apply)(*arguments)


def count(module, x):
    variables = jax.eval_shape(module.init, KEY, jax.ShapeDtypeStruct(x, jnp.float32), T)
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_the_motion_network_has_its_published_size():
    assert count(UNet(), (2, 64, 20)) == 44_356_756


@pytest.mark.parametrize("length", [32, 64, 128])
def test_size_does_not_depend_on_length(length):
    assert count(UNet(), (2, length, 20)) == 44_356_756


def test_starts_by_predicting_no_noise():
    module = UNet(**SMALL)
    variables = jax.jit(module.init)(KEY, X, T)
    np.testing.assert_array_equal(run(module, variables, X, T), jnp.zeros_like(X))


def test_time_embedding_has_cosines_first():
    got = time_embedding(jnp.asarray([0, 10]), 7)
    frequencies = 10000.0 ** (-np.arange(3) / 3)
    want = np.concatenate([np.cos(10 * frequencies), np.sin(10 * frequencies), [0]])
    np.testing.assert_allclose(got[1], want, atol=1e-6)
    np.testing.assert_allclose(got[0], [1, 1, 1, 0, 0, 0, 0], atol=1e-7)


def test_group_norm_is_exact_far_from_zero():
    x = 1000 + jax.random.normal(KEY, (2, 64, 64))
    y = GroupNorm(32).apply(GroupNorm(32).init(KEY, x), x).reshape(2, 64, 32, 2)
    np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((1, 3)), 1, atol=1e-3)


def test_samples_of_a_batch_do_not_mix():
    module, variables = build()
    together = run(module, variables, X, T)
    alone = run(module, variables, X[1:], T[1:])
    np.testing.assert_allclose(alone[0], together[1], atol=1e-5)
    other = run(module, variables, X, jnp.asarray([3, 100]))
    np.testing.assert_allclose(other[0], together[0], atol=1e-6)
    assert np.abs(other[1] - together[1]).max() > 1e-3, "the timestep changes nothing"


def test_condition_reaches_the_output():
    condition = jax.random.normal(KEY, (2, 5))
    module, variables = build(condition=condition, condition_dim=5)
    a = run(module, variables, X, T, condition)
    b = run(module, variables, X, T, condition.at[0].add(1.0))
    assert np.abs(a[0] - b[0]).max() > 1e-3
    np.testing.assert_allclose(a[1], b[1], atol=1e-6)


def test_bfloat16_stays_close_and_gives_float32():
    module, variables = build()
    exact = run(module, variables, X, T)
    half = run(UNet(**SMALL, dtype=jnp.bfloat16), variables, X, T)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - exact).max() / np.abs(exact).max() < 0.05
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_remat_changes_nothing_but_memory():
    module, variables = build()

    def gradient(module):
        return jax.jit(jax.grad(lambda v: jnp.square(module.apply(v, X, T)).sum()))(variables)

    plain, saved = gradient(module), gradient(UNet(**SMALL, remat=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max() + 1e-6), plain, saved)


def test_every_parameter_has_a_gradient():
    condition, labels = jnp.ones((2, 5)), jnp.asarray([0, 2])
    module, variables = build(condition=condition, labels=labels, condition_dim=5, num_classes=3)
    gradient = jax.jit(jax.grad(lambda v: jnp.square(module.apply(v, X, T, condition, labels)).sum()))(variables)
    flat, _ = jax.tree_util.tree_flatten_with_path(gradient)
    unused = [jax.tree_util.keystr(path) for path, leaf in flat if not np.abs(leaf).max() > 0]
    assert not unused, f"parameters that nothing uses: {unused}"


@pytest.mark.parametrize(
    ("x", "arguments", "fields", "match"),
    [
        (jnp.zeros((2, 7, 4)), {}, {}, "multiples of 2"),
        (jnp.zeros((2, 8, 8, 4)), {}, {}, "wants 3 axes"),
        (X, {"condition": jnp.zeros((2, 3))}, {}, "condition has size 3"),
        (X, {}, {"condition_dim": 3}, "condition has size None"),
        (X, {"labels": jnp.asarray([0, 1])}, {}, "labels are given"),
        (X, {}, {"width": 24}, "24 channels cannot be split into 32 groups"),
        (X, {}, {"num_heads": 3}, "64 channels cannot be split into 3 heads"),
    ],
)
def test_errors_name_the_value_and_the_limit(x, arguments, fields, match):
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(UNet(**(SMALL | fields)).init, KEY, x, T, **arguments)


@pytest.mark.parametrize("x", [X, jax.random.normal(KEY, (2, 1024, 4)), jax.random.normal(KEY, (2, 8, 8, 4))])
def test_float32_at_highest_precision_whatever_the_default(x):
    module = UNet(**SMALL, dims=x.ndim - 2)
    variables = jax.eval_shape(module.init, KEY, x, T)
    with jax.default_matmul_precision("bfloat16"):
        text = jax.jit(module.apply).lower(variables, x, T).as_text()
    products = [line for line in text.splitlines() if "stablehlo.convolution" in line or "dot_general" in line]
    assert len(products) > 20
    assert all("HIGHEST" in line for line in products), "a convolution or product follows the default precision"
