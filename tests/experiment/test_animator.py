"""Stage 1 from a config: it becomes a run, and an impossible one fails before anything is made."""

import json
import shutil

import jax
import numpy as np
import pytest

from leo_jax import experiment, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.experiment import ConfigError, marks, settings
from leo_jax.training.logging import read_rows
from tests.experiment.tiny import load, tiny


def test_profile_that_is_no_range_fails_at_once(tmp_path):
    config = tiny(tmp_path)
    config.profile = "20:10"
    with pytest.raises(ConfigError, match=r"config\.profile = '20:10': two numbers of finished steps"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "data").exists(), "something was made before the check"


def test_vgg19_without_weights_fails_at_once(tmp_path):
    for given in ("", str(tmp_path / "missing.npz")):
        config = load("taichi")
        config.animator.vgg19 = given
        with pytest.raises(ConfigError, match=r"(?s)vgg19-dcbb9e9d\.pth.*leo convert vgg19.*pyramid_l1"):
            experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "something was made before the check"


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("model", "size", 100, "model.size = 100"),
        ("model", "code_dim", 20, "at most 8 directions.*model.width"),
        ("model", "dtype", "float16", "model.dtype = 'float16'"),
        ("data", "augmentation", "much", "data.augmentation = 'much'.*taichi"),
        ("data", "batch_size", 6, "multiple of 8"),
        ("data", "dir", "", "leo prepare"),
        ("animator", "perceptual", "lpips", "'vgg19' or 'pyramid_l1'"),
        ("animator", "accumulate", 2, "animator.accumulate = 2 with a batch of 8: take a multiple of 16"),
        ("animator", "accumulate", 0, "animator.accumulate = 0"),
        ("animator", "falloff", -1, "animator.falloff = -1"),
        ("mesh", "fsdp", 3, "mesh.fsdp = 3 over 1 devices"),
    ],
)
def test_impossible_values_are_named(tmp_path, section, field, value, message):
    config = tiny(tmp_path)
    config[section][field] = value
    with pytest.raises(ConfigError, match=message):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_unprepared_data_say_how_to_prepare(tmp_path):
    config = load("clips")
    config.stages = ("animator",)
    config.data.dir = str(tmp_path)
    with pytest.raises(ConfigError, match=r"leo prepare --videos DIR --out .* --size 64 --name clips"):
        experiment.run(config, tmp_path / "run")


def test_taichi_is_prepared_larger_than_it_is_trained(tmp_path):
    config = load("taichi", "128")
    config.animator.perceptual, config.data.dir = "pyramid_l1", str(tmp_path)
    with pytest.raises(ConfigError, match=r"leo prepare .* --size 256 --name taichi"):
        experiment.run(config, tmp_path / "run")


def test_a_bucket_without_its_package_is_one_line(tmp_path, monkeypatch):
    def load_manifest(directory):
        raise ImportError(f"{directory}: please install gcsfs")

    config = load("clips")
    config.data.dir = "gs://bucket/clips"
    monkeypatch.setattr(settings.manifest, "load", load_manifest)
    with pytest.raises(ConfigError, match=r"data.dir = 'gs://bucket/clips': .*gcsfs"):
        experiment.run(config, tmp_path / "run")


def test_a_bucket_is_no_workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"gs://bucket/run is no folder.*--workdir on a file system"):
        experiment.run(tiny(tmp_path), "gs://bucket/run")
    assert not list(tmp_path.iterdir()), "a local folder of that name was made"


def test_unknown_stages_are_named(tmp_path):
    config = tiny(tmp_path)
    config.stages = ("animator", "dancing")
    with pytest.raises(ConfigError, match=r"dancing.*name some of"):
        experiment.run(config, tmp_path / "run")


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Keeps compiled programs, so that three runs of one config compile it once."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compiled_once):
    """(folder of the data, stage folder) of a tiny run of six steps without interruption."""
    tmp_path = tmp_path_factory.mktemp("trained")
    return tmp_path, experiment.run(tiny(tmp_path), tmp_path / "run")["animator"]


def test_run_writes_logs_pictures_checkpoints_and_the_model(trained):
    folder = trained[1]
    assert weights.load_description(folder)["animator"] == {"size": 8, "width": 1 / 64, "code_dim": 4}
    params = weights.load_tree(folder / "animator.npz")
    assert {"encoder", "code_head", "generator", "directions"} <= params.keys()
    assert sorted(p.name for p in (folder / "pictures").iterdir()) == ["00000003.png", "00000006.png"]
    rows = read_rows(folder / "metrics.jsonl")
    assert {"loss", "adversarial", "discriminator", "l1", "perceptual"} <= rows[0].keys()
    measured = [row for row in rows if "heldout/l1" in row]
    assert [row["step"] for row in measured] == [3, 6]
    assert {"heldout/l1_copy", "heldout/moving_l1", "heldout/moving_l1_copy"} <= measured[0].keys()
    with Checkpoints(folder / "checkpoints", best_metric="heldout/moving_l1", read_only=True) as checkpoints:
        best = min(measured, key=lambda row: row["heldout/moving_l1"])["step"]
        assert checkpoints.best() == best


def test_resumed_training_is_bit_identical(trained, tmp_path):
    data, folder = trained
    experiment.run(tiny(data, steps=4), tmp_path)
    resumed = experiment.run(tiny(data), tmp_path)["animator"]
    once, twice = (weights.load_tree(f / "animator.npz") for f in (folder, resumed))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, "4 + 2 steps are not 6 steps"), once, twice)


def test_training_begins_with_the_given_model(trained, tmp_path, capsys):
    data, folder = trained
    before = shutil.copytree(folder, tmp_path / "before")
    still = tiny(data, steps=1, start_from=str(before), generator_lr=0.0)
    still.seed = 5  # other random parameters, were they not given
    begun = weights.load_tree(experiment.run(still, tmp_path / "run")["animator"] / "animator.npz")
    given = weights.load_tree(folder / "animator.npz")
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, err_msg="a step of rate 0 moved the given model")
    jax.tree.map(close, given, begun)  # the running mean rounds
    before.rename(tmp_path / "moved away")
    experiment.run(still, tmp_path / "run")
    assert "finished before" in capsys.readouterr().out, "what training began with is not needed any more"
    with pytest.raises(ConfigError, match=r"animator\.start_from = .*before"):
        experiment.run(still, tmp_path / "another run")
    still.animator.start_from = ""
    with pytest.raises(ConfigError, match="the model of start_from: one there, none here"):
        experiment.run(still, tmp_path / "run")


def test_a_model_to_begin_with_has_to_fit(trained, tmp_path):
    data, folder = trained
    for start_from, message in (
        (str(folder), "has code_dim 4, the config says model.code_dim = 3"),
        ("dance", "puppets"),
    ):
        config = tiny(data, start_from=start_from)
        config.model.code_dim = 3
        with pytest.raises(ConfigError, match=f"animator.start_from = .*{message}"):
            experiment.run(config, tmp_path / "run")


def test_checkpoints_of_another_config_are_refused_by_field(trained):
    data, folder = trained
    changed = tiny(data, generator_lr=0.5, log_every=1)
    changed.seed = 7
    with pytest.raises(ConfigError) as caught:
        experiment.run(changed, folder.parent)
    message = str(caught.value)
    assert "seed: 0 there, 7 here" in message and "animator.generator_lr: 0.002 there, 0.5 here" in message
    assert "log_every" not in message, "how often to log is free to change"
    assert "--accept_changes" in message and str(folder) in message
    assert json.loads((folder / "config.json").read_text())["seed"] == 0, "the refused config replaced the old one"


def test_changes_can_be_accepted_and_are_kept(trained, tmp_path):
    data, folder = trained
    shutil.copytree(folder.parent, tmp_path / "run")
    changed = tiny(data, l1_weight=2.0, steps=7)  # one in which it is learnt
    with pytest.raises(ConfigError, match="l1_weight"):
        experiment.run(changed, tmp_path / "run")
    experiment.run(changed, tmp_path / "run", accept_changes=True)
    assert json.loads((tmp_path / "run" / "animator" / "config.json").read_text())["animator"]["l1_weight"] == 2.0
    experiment.run(changed, tmp_path / "run")


def test_differences_name_added_and_dropped_fields():
    there, here = {"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [1, 2], "d": None}}
    assert marks.differences(there, here) == ["a.b: 1 there, nothing here", "a.d: nothing there, null here"]
