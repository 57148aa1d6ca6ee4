"""Published U-Nets load: the golden network, four others, and clear errors for everything else.

goldens/unet_variants.npz holds the outputs of small networks of other shapes (1-D, 2-D, classes, added embeddings, no
convolution in the resampling, learned variance), computed in float64 with PyTorch from the names in the JSON beside it by an
expression of the published architecture that reproduces unet1d_64x20.npz.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax import convert, diffusion
from tests.goldens import seeded

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
VARIANTS = np.load(GOLDENS / "unet_variants.npz")
NAMES = json.loads((GOLDENS / "unet_variants_keys.json").read_text())
HEADS = {"sequence": 2, "image": 4, "image_plain": 1, "classes": 2}
SHAPES = {"sequence": (2, 16, 6), "image": (2, 16, 8, 3), "image_plain": (2, 8, 8, 3), "classes": (2, 8, 8, 3)}


def state_dict(names):
    return {name: seeded.unet1d_weight(name, shape, 0) for name, shape in names.items()}


def load(name, **changes):
    weights = state_dict(NAMES[name]) | changes
    return convert.improved_diffusion(weights, dims=len(SHAPES[name]) - 2, num_heads=HEADS[name])


def relative(got, want):
    return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


def test_golden_network():
    golden = np.load(GOLDENS / "unet1d_64x20.npz")
    weights = state_dict(json.loads((GOLDENS / "unet1d_64x20_keys.json").read_text()))
    module, params = convert.improved_diffusion(weights, dims=1, num_heads=4)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 44_356_756
    x, t = jnp.asarray(golden["x"]), jnp.asarray(golden["t"], jnp.int32)

    eps = jax.jit(module.apply)({"params": params}, x, t)
    assert relative(eps, golden["eps"]) < 2e-5, "the network's output is not the published one's"

    walked = diffusion.respace(diffusion.linear_schedule(), 20)

    @jax.jit
    def sample(params, start):
        return diffusion.ddim(walked, lambda x, t: module.apply({"params": params}, x, t), start)

    assert relative(sample(params, x), golden["ddim20_sample"]) < 1e-3


@pytest.mark.parametrize("name", list(SHAPES))
def test_other_shapes(name):
    module, params = load(name)
    x = jnp.asarray(seeded.tensor(name, SHAPES[name], 0))
    labels = jnp.asarray([4, 1]) if name == "classes" else None
    eps = jax.jit(module.apply)({"params": params}, x, jnp.asarray([3, 741]), labels=labels)
    assert eps.shape == VARIANTS[name].shape
    assert relative(eps, VARIANTS[name]) < 2e-5


def test_reads_the_network_off_names_and_shapes():
    module, _ = load("image")
    assert (module.width, module.multipliers, module.num_blocks, module.attention) == (32, (1, 2, 2), 2, (2, 4))
    module, _ = load("image_plain")
    assert (module.scale_shift, module.conv_resample, module.out_channels, module.attention) == (
        False,
        False,
        6,
        (1, 2),
    )
    module, _ = load("classes")
    assert (module.num_classes, module.attention, module.num_heads) == (5, (), 2)


def test_takes_pytorch_tensors():
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(value).requires_grad_() for name, value in state_dict(NAMES["sequence"]).items()}
    _, params = convert.improved_diffusion(tensors, dims=1, num_heads=2)
    _, want = load("sequence")
    jax.tree.map(np.testing.assert_array_equal, params, want)


def test_refuses_names_and_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"(?s)proj_out.bias: shape \(3,\) .* \(96,\).*extra \(3,\): not a name"):
        load("sequence", extra=np.zeros(3), **{"middle_block.1.proj_out.bias": np.zeros(3)})
    with pytest.raises(ValueError, match=r"qkv.weight: shape \(288, 96, 3\)"):
        load("sequence", **{"middle_block.1.qkv.weight": np.zeros((288, 96, 3))})
    weights = state_dict(NAMES["sequence"])
    del weights["output_blocks.0.0.in_layers.0.bias"]
    with pytest.raises(
        ValueError, match=r"output_blocks\.0\.0\.in_layers\.0\.bias is missing: .* output_0_0/norm_in/bias \(192,\)"
    ):
        convert.improved_diffusion(weights, num_heads=2)


def test_refuses_what_is_not_such_a_network():
    with pytest.raises(ValueError, match=r"missing; the state dict has model\.time_embed"):
        convert.improved_diffusion({f"model.{name}": value for name, value in state_dict(NAMES["sequence"]).items()})
    with pytest.raises(ValueError, match="nothing"):
        convert.improved_diffusion({})
    with pytest.raises(ValueError, match="pass dims=2"):
        convert.improved_diffusion(state_dict(NAMES["image"]), dims=1)
    with pytest.raises(ValueError, match=r"num_heads is 5.*\[64, 96\]"):
        convert.improved_diffusion(state_dict(NAMES["sequence"]), num_heads=5)
