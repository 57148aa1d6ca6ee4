"""Properties of the animator's parts that no golden value states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator, minibatch_deviation
from leo_jax.models.layers import channels_at


def small(size=16, dtype=jnp.float32, seed=0):
    animator = Animator(size, width=1 / 32, code_dim=4, dtype=dtype)
    images = jax.random.uniform(jax.random.key(seed), (2, size, size, 3), jnp.float32, -1, 1)
    return animator, jax.jit(animator.init)(jax.random.key(seed), images, images), images


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_faithful_sizes_have_the_original_channels(size):
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(Animator(size).init, jax.eval_shape(lambda: jax.random.key(0)), image, image)["params"]
    widths = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32}
    for r in (r for r in widths if 8 <= r <= size):
        assert shapes["generator"][f"conv_{r}"]["conv"]["kernel"].shape == (3, 3, widths[r], widths[r])
    assert shapes["directions"].shape == (512, 20)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(shapes)), "parameters are float32"


def test_width_scales_every_channel():
    assert channels_at(64, 0.25) == {4: 128, 8: 128, 16: 128, 32: 128, 64: 64}
    with pytest.raises(ValueError, match="48"):
        channels_at(48)


def test_bfloat16_computes_nearly_the_same_with_float32_parameters():
    exact, variables, images = small()
    rough = Animator(exact.size, exact.width, exact.code_dim, jnp.bfloat16)
    apply = lambda module: jax.jit(lambda v: module.apply(v, images, images[::-1]).image)(variables)
    a, b = apply(exact), apply(rough)
    assert a.dtype == b.dtype == jnp.float32
    error = jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))
    assert 0 < error < 0.3, f"bfloat16 is {error:.3f} off float32: 0 means it was not used"


def test_own_code_changes_nothing_in_relative_mode():
    animator, variables, images = small()
    apply = jax.jit(lambda *a: animator.apply(variables, *a).image)
    np.testing.assert_allclose(apply(images, images), apply(images, images[::-1], images[::-1]), atol=1e-4)


def test_one_source_serves_a_batch_of_codes():
    animator, variables, images = small(32)
    encode, motion, decode = (
        jax.jit(functools.partial(animator.apply, variables, method=method))
        for method in ("encode", "motion", "decode")
    )
    style, features = encode(images[:1])
    codes = jax.random.normal(jax.random.key(3), (3, 4)) * 5
    latents = style + motion(codes)
    together = decode(latents, features).image
    for i in range(3):
        np.testing.assert_allclose(decode(latents[i : i + 1], features).image[0], together[i], rtol=2e-4, atol=2e-4)


def test_minibatch_deviation_follows_the_group_rule():
    x = np.random.default_rng(0).standard_normal((20, 2, 2, 3)).astype(np.float32)
    got = np.asarray(minibatch_deviation(jnp.asarray(x)))[:, 0, 0, 0]
    for start, length in ((0, 8), (8, 8), (16, 4)):
        block = x[start : start + length]
        g = min(length, 4)
        for i in range(length):
            group = block[[k for k in range(length) if k % (length // g) == i % (length // g)]]
            expected = np.sqrt(group.var(axis=0) + 1e-8).mean()
            np.testing.assert_allclose(got[start + i], expected, rtol=1e-5, err_msg=f"sample {start + i}")


def test_minibatch_deviation_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="6 samples"):
        minibatch_deviation(jnp.zeros((6, 2, 2, 1), jnp.float32))


def test_discriminator_gives_one_float32_logit_an_image():
    discriminator = Discriminator(16, 1 / 32, jnp.bfloat16)
    images = jnp.zeros((4, 16, 16, 3), jnp.float32)
    variables = jax.jit(discriminator.init)(jax.random.key(0), images)
    logits = jax.jit(discriminator.apply)(variables, images)
    assert logits.shape == (4,) and logits.dtype == jnp.float32
