"""The notebook API on a converted checkpoint and on a training workdir."""

import json
import warnings

import jax
import numpy as np
import pytest

import leo_jax
from leo_jax import convert, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.models.animator import Animator
from tests import tiny_model
from tests.goldens import lia


@pytest.fixture(scope="module")
def golden_model(tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    convert.lia(lia.state_dict(), out)
    return leo_jax.load(out, batch_size=2)


def test_codes_and_render_are_golden(golden_model):
    source, driving, start = (lia.image(name) for name in ("source", "driving", "start"))
    codes = golden_model.codes(driving)
    assert codes.shape == (2, 20) and lia.relative_error(codes, lia.golden()["alpha_driving"]) < 1e-5
    for i in range(2):
        frames = golden_model.render(source[i], codes[i : i + 1])
        assert lia.relative_error(frames[0], np.clip(lia.golden()["recon"][i], -1, 1)) < 1e-5
        frames = golden_model.render(source[i], codes[i : i + 1], relative_to=golden_model.codes(start[i]))
        assert lia.relative_error(frames[0], np.clip(lia.golden()["recon_relative"][i], -1, 1)) < 1e-5


@pytest.fixture(scope="module")
def leo(tmp_path_factory):
    """A tiny model with all stages."""
    return leo_jax.load(tiny_model.write(tmp_path_factory.mktemp("leo")))


def test_opens_what_is_there(leo):
    assert leo.stages == {"animator", "motion", "start", "transition", "first_frame"}
    assert (leo.stride, leo.fps) == (tiny_model.STRIDE, tiny_model.FPS / tiny_model.STRIDE)
    assert not leo.sampler.stages._opened, "loading opens denoisers that may not be needed"


def test_conditional_frames_begin_with_the_image(leo):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    frames = list(leo.generate(image, frames=10, steps=2))
    assert (
        len(frames) == 10
        and {f.shape for f in frames} == {(16, 16, 3)}
        and {f.dtype for f in frames} == {np.dtype("f4")}
    )
    np.testing.assert_allclose(frames[0], image / 127.5 - 1, atol=1e-6)
    codes = leo.sample_codes(leo.codes(image)[0], frames=10, steps=2)[0]
    np.testing.assert_allclose(np.stack(frames[1:]), leo.render(image, codes)[1:], atol=1e-3)
    same = list(leo.generate(image / 127.5 - 1, frames=10, steps=2))
    np.testing.assert_allclose(same, frames, atol=1e-3)


def test_unconditional_frames_begin_with_a_drawn_image(leo):
    codes = leo.sample_codes(frames=9, steps=2, num=2)
    drawn = leo.first_frame(codes[:, 0], steps=2)
    assert drawn.shape == (2, 16, 16, 3) and np.abs(drawn).max() <= 1
    np.testing.assert_allclose(leo.first_frame(codes[1, 0], steps=2, first=1), drawn[1], atol=1e-3)
    frames = list(leo.generate(frames=9, steps=2, index=1))
    np.testing.assert_allclose(frames[0], drawn[1], atol=0.5 / 127.5 + 1e-3)  # as the bytes that are kept with codes
    assert np.abs(frames[0] - next(leo.generate(frames=1, steps=2, seed=1))).max() > 0.1


def test_an_endless_video_goes_on(leo):
    frames = leo.generate(frames=None, steps=2)
    assert len([next(frames) for _ in range(30)]) == 30


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m.generate(np.zeros((32, 32, 3), np.uint8)), r"\(1, 32, 32, 3\).*16, 16.*resize"),
        (lambda m: m.generate(np.zeros((2, 16, 16, 3), np.uint8)), r"\(2, 16, 16, 3\): a video begins with one"),
        (lambda m: m.generate(frames=0), "0 frames"),
        (lambda m: m.sample_codes(frames=64.5), "64.5 frames: a whole number"),
        (lambda m: m.sample_codes(frames=3, seed=2**32), "seed = 4294967296: from 0 to 4294967295"),
        (lambda m: m.sample_codes(np.full(3, np.nan), frames=3), "start: NaN"),
        (lambda m: m.first_frame(np.zeros((0, 3))), "no codes"),
        (lambda m: m.first_frame(np.zeros(3), seed=-1), "seed = -1"),
        (lambda m: m.first_frame(np.zeros(5)), r"\(5,\).*\(3,\)"),
    ],
)
def test_wrong_wishes_are_told_at_once(leo, call, says):
    with pytest.raises(ValueError, match=says):
        call(leo)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small random model, saved as a finished training leaves it: directory, module, parameters."""
    animator = Animator(16, width=1 / 64, code_dim=3)
    image = np.zeros((1, 16, 16, 3), np.float32)
    params = jax.device_get(jax.jit(animator.init)(jax.random.key(0), image, image)["params"])
    workdir = tmp_path_factory.mktemp("run")
    sizes = {"size": 16, "width": 1 / 64, "code_dim": 3}
    weights.save_model(workdir / "animator", {"animator": sizes}, {"animator": params})
    return workdir, sizes, params


def test_any_number_of_frames_in_fixed_batches(tiny):
    rng = np.random.default_rng(0)
    source, codes = rng.uniform(-1, 1, (16, 16, 3)).astype(np.float32), rng.standard_normal((7, 3)).astype(np.float32)
    by_batch = [leo_jax.load(tiny[0], batch_size=n).render(source, codes) for n in (1, 3, 16)]
    for frames in by_batch:
        assert frames.shape == (7, 16, 16, 3) and frames.dtype == np.float32 and np.abs(frames).max() <= 1
        np.testing.assert_allclose(frames, by_batch[0], atol=1e-4)
    assert leo_jax.load(tiny[0]).render(source, codes[:0]).shape == (0, 16, 16, 3)


def test_floats_from_0_to_1_are_doubted(leo):
    image = np.random.default_rng(0).uniform(0, 1, (16, 16, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"taken as \[-1, 1\].*pass 2 \* images - 1"):
        leo.codes(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leo.codes(2 * image - 1)


def test_bytes_are_their_floats(tiny):
    model = leo_jax.load(tiny[0])
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(model.codes(images), model.codes(images.astype(np.float32) / 127.5 - 1), atol=1e-5)


def test_loads_a_training_under_way(tiny, tmp_path):
    _, sizes, params = tiny
    for ema, state in ((0.0, {"generator": {"params": params}}), (0.9, {"ema": params, "generator": {}})):
        stage = tmp_path / str(ema) / "animator"
        with Checkpoints(stage / "checkpoints") as checkpoints:
            checkpoints.save(5, {**state, "other": np.zeros(2, np.float32)}, {})
        (stage / "config.json").write_text(json.dumps({"model": sizes, "animator": {"ema_decay": ema}}))
        codes = [leo_jax.load(d).codes(np.zeros((16, 16, 3), np.uint8)) for d in (tmp_path / str(ema), tiny[0])]
        np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m.codes(np.zeros((2, 32, 32, 3), np.uint8)), r"\(2, 32, 32, 3\).*\(frames, 16, 16, 3\)"),
        (lambda m: m.codes(np.full((16, 16, 3), 200.0, np.float32)), r"\[-1, 1\].*200"),
        (lambda m: m.render(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 3))), "2 source images"),
        (lambda m: m.render(np.zeros((16, 16, 3), np.uint8), np.zeros((4, 20))), r"\(4, 20\).*\(frames, 3\)"),
        (lambda m: m.render(np.zeros((16, 16, 3), np.uint8), np.zeros((4, 3)), np.zeros((2, 3))), r"\(2, 3\)"),
        (lambda m: m.render(np.zeros((16, 16, 3), np.uint8), np.full((4, 3), np.nan)), "codes: NaN"),
    ],
)
def test_wrong_inputs_are_told(tiny, call, says):
    with pytest.raises(ValueError, match=says):
        call(leo_jax.load(tiny[0]))


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model in .*leo convert lia"):
        leo_jax.load(tmp_path)


def test_parameters_of_another_size_are_told(tiny, tmp_path):
    _, sizes, params = tiny
    weights.save_model(tmp_path, {"animator": {**sizes, "size": 32}}, {"animator": params})
    with pytest.raises(ValueError, match=r"animator of 32 px.*do not fit"):
        leo_jax.load(tmp_path)
