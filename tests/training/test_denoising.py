"""One task trains all four denoisers: their losses fall, their runs resume exactly, their pictures show what is made."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from leo_jax import weights
from leo_jax.denoisers import Statistics, inputs_of
from leo_jax.training import denoising, plots
from leo_jax.training.denoising_pictures import make_picture
from leo_jax.training.logging import read_rows
from leo_jax.training.loop import fit
from leo_jax.training.state import make_mesh
from leo_jax.training.updates import adam, running_mean
from tests import small_denoisers as small

SETTINGS = denoising.Settings(learning_rate=3e-3, warmup=10, ema_decay=0.9)
STEPS = 60
MEAN, STD = np.array([3.0, -20.0], np.float32), np.array([0.5, 10.0], np.float32)
STATISTICS = Statistics(MEAN, STD)


def raw(batch):
    """A toy batch as it comes from the disk: codes with the animator's mean and deviation."""
    return {**batch, "codes": batch["codes"] * STD + MEAN}


class ToyBatches:
    def __init__(self, denoiser):
        self.denoiser, self.position = denoiser, 0

    def __next__(self):
        self.position += 1
        return raw(small.toy_batch(self.denoiser, np.random.default_rng(self.position), 32))

    def get_state(self):
        return {"position": self.position}

    def skip(self, count):
        self.position += count

    def set_state(self, state):
        self.position = state["position"]


def random_params(denoiser):
    rng = np.random.default_rng(0)
    shapes = weights.shapes_of(denoiser.module, *inputs_of(denoiser))
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.2, jnp.float32), shapes)


def name_of(denoiser):
    return next(name for name, one in small.ALL.items() if one == denoiser)


def task(denoiser):
    examples = raw(small.toy_batch(denoiser, np.random.default_rng(0), 48))
    few = {name: array[:2] for name, array in examples.items()}
    if "images" not in few:
        few["images"] = np.full((2, 4, 4, 3), 100, np.uint8)
    if name_of(denoiser) in ("transition", "without LMC"):  # their sheets are the motion model's
        return denoising.make_task(denoiser, STATISTICS, SETTINGS)
    render = lambda image, codes: np.broadcast_to(image, (len(codes), *image.shape))
    return denoising.make_task(
        denoiser,
        STATISTICS,
        SETTINGS,
        evaluate=denoising.make_evaluation(denoiser, examples, seed=1, batch_size=32),
        picture=make_picture(denoiser, few, render=render, steps=2),
    )


def train(denoiser, workdir, steps=STEPS):
    options = {"log_every": 10, "picture_every": 1000, "checkpoint_every": 20, "seed": 3, "mesh": make_mesh()}
    return fit(task(denoiser), ToyBatches(denoiser), workdir=workdir, steps=steps, **options)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def motion_run(tmp_path_factory):
    """(workdir, final state) of the motion model's undisturbed run."""
    workdir = tmp_path_factory.mktemp("motion")
    return workdir, jax.device_get(train(small.motion(), workdir))


@pytest.mark.parametrize("name", small.ALL)
def test_the_loss_falls_and_a_picture_is_drawn(name, tmp_path, motion_run):
    workdir = motion_run[0] if name == "motion" else tmp_path
    if name != "motion":
        train(small.ALL[name], workdir)
    rows = read_rows(workdir / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    heldout = [row["heldout/loss"] for row in rows if "heldout/loss" in row]
    assert len(losses) == STEPS // 10
    assert losses[0] > 0.6, "it knows the noise before it has learnt: something clean leaks in"
    assert losses[-1] < 0.85 * losses[0], losses
    if name in ("transition", "without LMC"):
        return
    assert len(heldout) == STEPS // 20 and heldout[-1] < 0.9 * heldout[0], heldout
    picture = np.asarray(Image.open(workdir / "pictures" / f"{STEPS:08d}.png"))
    assert np.any(np.all(picture == plots.REAL, -1)) == (name != "first_frame"), "nothing real is drawn"


def test_extending_a_run_is_exact(motion_run, tmp_path):
    train(small.motion(), tmp_path, steps=40)
    resumed = jax.device_get(train(small.motion(), tmp_path))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, "40 + 20 steps are not 60"), resumed, motion_run[1])
    rows = [read_rows(folder / "metrics.jsonl")[-1]["heldout/loss"] for folder in (tmp_path, motion_run[0])]
    assert rows[0] == rows[1], "the held-out loss draws other noise in a resumed run"


def test_the_state_is_parameters_moments_and_mean_only(motion_run):
    state = motion_run[1]
    assert state.keys() == {"params", "optimiser", "ema"}, "statistics or the like are trained, or saved with each step"
    assert jax.tree.structure(state["ema"]) == jax.tree.structure(state["params"])


def test_codes_are_standardised_by_the_frozen_statistics():
    """A shift and scale of the data that the statistics know of changes nothing."""
    denoiser = small.start()
    task_ = denoising.make_task(denoiser, STATISTICS, SETTINGS)
    other = denoising.make_task(denoiser, Statistics(np.zeros(2, np.float32), np.ones(2, np.float32)), SETTINGS)
    state, key = task_.init(jax.random.key(0)), jax.random.key(1)
    batch = small.toy_batch(denoiser, np.random.default_rng(0), 8)
    step = jax.jit(task_.step)
    loss = step(state, task_.frozen, raw(batch), key)[1]["loss"]
    np.testing.assert_allclose(loss, step(state, other.frozen, batch, key)[1]["loss"], rtol=1e-5)


def test_images_are_scaled_to_one():
    ready = denoising.prepared(
        {"statistics": STATISTICS}, {"codes": jnp.zeros((1, 2)), "images": jnp.asarray([[[[0, 255, 51]]]], jnp.uint8)}
    )
    np.testing.assert_allclose(ready["images"].ravel(), [-1, 1, -0.6], atol=1e-6)


def test_the_rate_rises_and_nothing_decays():
    transformation = adam(0.01, warmup=4)
    params, sizes = {"a": jnp.full(3, 5.0)}, []
    state = transformation.init(params)
    for _ in range(6):
        updates, state = transformation.update({"a": jnp.ones(3)}, state, params)
        sizes.append(-float(updates["a"][0]))
    np.testing.assert_allclose(sizes, [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01], rtol=1e-4)
    zero = transformation.update({"a": jnp.zeros(3)}, transformation.init(params), params)[0]["a"]
    assert np.all(zero == 0), "weights decay"


def test_the_rate_falls_at_the_end():
    denoiser = small.start()
    batch = jax.tree.map(jnp.asarray, raw(small.toy_batch(denoiser, np.random.default_rng(0), 8)))
    falling, constant = (
        denoising.make_task(denoiser, STATISTICS, dataclasses.replace(SETTINGS, **changes))
        for changes in ({"steps": 4, "falloff": 4}, {})
    )
    state = falling.init(jax.random.key(0))
    for count in range(4):
        after, full = (
            one.step(state, one.frozen, batch, jax.random.key(count))[0]["params"] for one in (falling, constant)
        )
        moved, expected = (jax.tree.map(lambda a, b: a - b, new, state["params"]) for new in (after, full))
        share = optax.tree_utils.tree_norm(moved) / optax.tree_utils.tree_norm(expected)
        assert float(share) == pytest.approx(1 - count / 4, rel=1e-3)
        state = falling.step(state, falling.frozen, batch, jax.random.key(count))[0]


def test_young_means_forget_the_start():
    mean = {"a": jnp.asarray(100.0)}
    for count in range(1, 51):
        mean = running_mean(mean, {"a": jnp.asarray(1.0)}, 0.9999, jnp.asarray(count))
    assert abs(float(mean["a"]) - 1) < 1e-3, "after 50 steps the start still weighs"
    late = running_mean({"a": jnp.asarray(0.0)}, {"a": jnp.asarray(1.0)}, 0.9, jnp.asarray(10**6))
    np.testing.assert_allclose(late["a"], 0.1, rtol=1e-5)


def test_bfloat16_computes_what_float32_does_nearly():
    denoiser = small.motion()
    half = dataclasses.replace(denoiser, module=dataclasses.replace(denoiser.module, dtype=jnp.bfloat16))
    ready = small.toy_batch(denoiser, np.random.default_rng(0), 8)
    params = random_params(denoiser)
    one, other = (jax.jit(each.loss)(params, ready, jax.random.key(1)) for each in (denoiser, half))
    assert other.dtype == jnp.float32
    np.testing.assert_allclose(one, other, rtol=0.05)
    assert np.any(one != other), "nothing was computed in bfloat16"
