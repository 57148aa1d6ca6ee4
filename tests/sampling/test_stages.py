"""Stages on disk: finished, still training, or of another model."""

import json

import jax
import numpy as np
import pytest

from leo_jax import denoisers, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.sampling.stages import Stages
from tests import tiny_model
from tests.tiny_model import CODE_DIM, SIZE


def open_at(folder):
    return Stages(folder, CODE_DIM, SIZE)


@pytest.mark.parametrize("name", denoisers.KINDS)
def test_a_finished_stage_is_what_was_written(folder, name):
    trained = open_at(folder)[name]
    assert trained.denoiser == tiny_model.networks()[name]
    jax.tree.map(np.testing.assert_array_equal, trained.params, weights.load_tree(folder / name / f"{name}.npz"))
    np.testing.assert_array_equal(trained.statistics.std, tiny_model.statistics()["std"])


def test_a_stage_still_training_gives_its_averaged_weights(tmp_path):
    denoiser = tiny_model.networks()["start"]
    shapes = weights.shapes_of(denoiser.module, *denoisers.inputs_of(denoiser))
    ema, params = (tiny_model.random_params(shapes, seed) for seed in (0, 1))
    stage = tmp_path / "start"
    stage.mkdir()
    (stage / "denoiser.json").write_text(json.dumps(denoisers.describe(denoiser)))
    weights.save_tree(stage / "statistics.npz", tiny_model.statistics())
    assert "start" not in open_at(tmp_path).names, "before the first checkpoint there is nothing to use"
    with Checkpoints(stage / "checkpoints") as checkpoints:
        checkpoints.save(5, {"params": params, "ema": ema, "step": np.zeros((), np.int32)}, {})
    assert open_at(tmp_path).names == {"start"}
    jax.tree.map(np.testing.assert_array_equal, open_at(tmp_path)["start"].params, ema)


def test_a_missing_stage_is_trained_in_a_workdir(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no motion model.*--workdir=\S*/run --stages=motion`"):
        open_at(tmp_path / "run")["motion"]
    weights.save_model(tmp_path / "vox", {"animator": {}}, {})
    with pytest.raises(FileNotFoundError, match=r"--workdir=WORKDIR --animator=\S*/vox` and take WORKDIR"):
        open_at(tmp_path / "vox")["motion"]


def test_another_models_stage_is_told(tmp_path):
    sequences, images = tiny_model.networks()["start"], tiny_model.networks(size=32)["first_frame"]
    tiny_model.write_stage(tmp_path / "start", sequences)
    tiny_model.write_stage(tmp_path / "first_frame", images)
    with pytest.raises(ValueError, match=r"codes of 3, the animator's have 20"):
        Stages(tmp_path, 20, SIZE)["start"]
    with pytest.raises(ValueError, match=r"32 px, the animator takes 16 px"):
        open_at(tmp_path)["first_frame"]


def test_damage_is_told(tmp_path):
    tiny_model.write_stage(tmp_path / "start", tiny_model.networks()["start"])
    weights.save_tree(tmp_path / "start" / "start.npz", {"input": {"kernel": np.zeros((1, 1))}})
    with pytest.raises(ValueError, match=r"a start model.*do not fit"):
        open_at(tmp_path)["start"]
    (tmp_path / "start" / "model.json").write_text(json.dumps({"format": weights.FORMAT, "start": {"stage": "start"}}))
    with pytest.raises(ValueError, match="does not describe a start model"):
        open_at(tmp_path)["start"]
