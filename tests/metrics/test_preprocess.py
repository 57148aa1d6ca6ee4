"""Preprocessing against DIGAN's own, and what each protocol's resize must do to simple inputs."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.metrics import preprocess
from leo_jax.metrics.protocols import protocol

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "metrics" / "preprocess.npz")
TARGETS = {"up_landscape": 32, "up_portrait": 32, "down_square": 24, "up_128to224": 224}


@pytest.mark.parametrize("case", TARGETS)
def test_digan(case):
    video = jnp.asarray(GOLDEN[f"{case}/video_uint8"])
    got = preprocess.to_network(video, "short side", TARGETS[case])
    got = np.transpose(got, (0, 4, 1, 2, 3))
    if case == "up_128to224":
        got = got[..., ::7, ::7]
    np.testing.assert_allclose(got, GOLDEN[f"{case}/digan_preprocess_bcthw"], atol=1e-6)


def test_digan_crop_and_resize():
    video = np.transpose(GOLDEN["digan_resize_crop/video_tchw_float"], (0, 2, 3, 1))
    got = preprocess.centre_square(video, 16)
    expected = GOLDEN["digan_resize_crop/out_cthw_16"]
    np.testing.assert_allclose(np.transpose(got, (3, 0, 1, 2)), expected, atol=1e-4)


def test_stretch_uses_the_whole_frame():
    """A frame with a dark left and a bright right half keeps both edges, whatever its shape."""
    frame = np.zeros((1, 1, 40, 80, 3), np.uint8)
    frame[..., 40:, :] = 255
    out = np.asarray(preprocess.to_network(jnp.asarray(frame), "stretch"))
    assert out.shape == (1, 1, 224, 224, 3)
    np.testing.assert_allclose(out[..., 0, :], -1)
    np.testing.assert_allclose(out[..., -1, :], 1)
    np.testing.assert_allclose(out[:, :, :, :112].mean(), -1, atol=0.01)


def test_grids_of_pytorch_and_tensorflow_1():
    """Doubling two samples: half-pixel centres give 1, ¾·, ¼·, 2; TensorFlow 1's grid repeats the last sample."""
    line = np.array([1.0, 2.0], np.float32)
    np.testing.assert_allclose(preprocess.bilinear(2, 4) @ line, [1, 1.25, 1.75, 2])
    np.testing.assert_allclose(preprocess.bilinear(2, 4, half_pixel=False) @ line, [1, 1.5, 2, 2])


def test_roundings():
    values = np.array([-3.0, 0.4, 0.5, 99.9, 254.5, 300.0], np.float32).reshape(1, 1, 2, 3)
    flat = lambda rounding: list(preprocess.round_to_uint8(values, rounding).ravel())
    assert flat("truncate") == [0, 0, 0, 99, 254, 255], "DIGAN cuts"
    assert flat("nearest") == [0, 0, 1, 100, 255, 255], "StyleGAN-V's x·127.5 + 128 of [-1, 1] is rounding"


@pytest.mark.parametrize(("name", "size"), [("digan-taichi", 128), ("styleganv-16f", 200)])
def test_prepare(name, size):
    """DIGAN's protocol brings any frame to 128 px; StyleGAN-V's leaves it alone."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 200, 200, 3), dtype=np.uint8)
    out = preprocess.prepare(frames, protocol(name))
    assert out.shape == (2, size, size, 3) and out.dtype == np.uint8
