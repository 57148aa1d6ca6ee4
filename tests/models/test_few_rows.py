"""What a CPU prepares before it samples few sequences gives what the network gives without."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from leo_jax.denoisers import Motion, Sampling
from leo_jax.models import few_rows
from leo_jax.models.affine import COLUMNS, FEW_ROWS
from leo_jax.models.apply import apply
from leo_jax.models.unet import EMBEDDED, UNet
from tests import small_denoisers

MODULE = UNet(out_channels=4, width=64, multipliers=(1, 4), num_blocks=1, attention=(2,), groups=8)
LENGTH = 8


@pytest.fixture(scope="module")
def params():
    """Parameters without a zero among them."""
    x, t = jnp.zeros((1, LENGTH, 4)), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(MODULE.init, jax.random.key(0), x, t)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.3 / np.sqrt(s.shape[0]), s.shape), jnp.float32), shapes)


def sequences(batch):
    return jax.random.normal(jax.random.key(1), (batch, LENGTH, 4))


def assert_close(made, wanted):
    np.testing.assert_allclose(made, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("count", [1, 5, few_rows.BLOCK, 20])
def test_the_prepared_network_gives_what_the_network_gives(params, count):
    timesteps = np.arange(count) * 1000 // count + 3
    x = sequences(2)

    @jax.jit
    def both(params, step):
        t = jnp.full(2, step)
        return few_rows.network(MODULE, params, timesteps)(x, t), apply(MODULE, params, x, t)

    answers = []
    for step in sorted({timesteps[0], timesteps[count // 2], timesteps[-1]}):
        made, wanted = both(params, step)
        assert_close(made, wanted)
        answers.append(wanted)
    for a, b in itertools.pairwise(answers):
        assert np.abs(a - b).max() > 1e-3 * np.abs(a).max(), "the step hardly matters"


def broken(params, which):
    """The parameters with nothing but NaN in the kernels at the paths `which`."""
    flat = traverse_util.flatten_dict(params)
    assert which
    return traverse_util.unflatten_dict({path: v * np.nan if path in which else v for path, v in flat.items()})


def test_layers_read_the_pieces_and_not_the_kernels(params):
    pieces = few_rows.columns(params)
    cut = set(traverse_util.flatten_dict(pieces))
    x, t = sequences(1), jnp.full(1, 17)
    run = jax.jit(lambda params: MODULE.apply({"params": params, COLUMNS: pieces}, x, t))
    assert_close(run(broken(params, cut)), apply(MODULE, params, x, t))


def test_blocks_read_the_embeddings_made_beforehand(params):
    timesteps = np.asarray([0, 100, 200])
    row_of = few_rows.embeddings(MODULE, params, timesteps)
    embeds = {path for path in traverse_util.flatten_dict(params) if path[-2] == "embed" or path[0].startswith("time")}
    x, t = sequences(1), jnp.full(1, 100)
    run = jax.jit(lambda params: MODULE.apply({"params": params, EMBEDDED: row_of(t[0])}, x, t))
    assert_close(run(broken(params, embeds)), apply(MODULE, params, x, t))


def test_pieces_put_side_by_side_are_the_kernels(params):
    kernels, pieces = traverse_util.flatten_dict(params), traverse_util.flatten_dict(few_rows.columns(params))
    assert {path[-2] for path in pieces} == {"conv_in", "conv_out", "conv", "skip", "qkv", "out"}
    for path, parts in pieces.items():
        kernel = kernels[path].reshape(-1, kernels[path].shape[-1])
        assert len(parts) > 8, "too few for XLA to share"
        np.testing.assert_array_equal(np.concatenate(parts, -1), kernel)


def test_only_float32_sequences_without_a_condition_are_prepared():
    assert few_rows.serves(MODULE, FEW_ROWS) and not few_rows.serves(MODULE, FEW_ROWS + 1)
    for changes in ({"dims": 2}, {"dtype": jnp.bfloat16}, {"condition_dim": 3}, {"num_classes": 3}):
        assert not few_rows.serves(MODULE.clone(**changes), 1)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_samples_are_those_of_the_network(params, sampler, monkeypatch):
    motion = Motion(MODULE, length=LENGTH, prediction="velocity")
    keys, start = jax.random.split(jax.random.key(3), 2), jax.random.normal(jax.random.key(4), (2, 4))
    prepared = []
    network = few_rows.network
    monkeypatch.setattr(few_rows, "network", lambda *arguments: prepared.append(1) or network(*arguments))

    def sample():
        draw = functools.partial(motion.sample, sampling=Sampling(12, sampler, bound=3.0))
        return np.asarray(jax.jit(lambda params: draw(params, keys, start))(params))

    made = sample()
    assert prepared
    monkeypatch.setattr(few_rows, "serves", lambda *_: False)
    wanted = sample()
    assert len(prepared) == 1
    np.testing.assert_allclose(made, wanted, atol=1e-4 * np.abs(wanted).max())


def test_small_denoisers_have_nothing_to_cut():
    module = small_denoisers.motion().module
    x, t = jnp.zeros((1, LENGTH, small_denoisers.DIM)), jnp.zeros(1, jnp.int32)
    params = jax.jit(module.init)(jax.random.key(0), x, t)["params"]
    assert few_rows.columns(params) == {}
    assert_close(few_rows.network(module, params, np.arange(4))(x + 1, t + 2), apply(module, params, x + 1, t + 2))
