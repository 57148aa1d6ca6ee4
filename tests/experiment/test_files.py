"""What lies on disk is looked at before anything is trained."""

import shutil

import pytest

from leo_jax import experiment
from leo_jax.data.writing import write_dataset
from leo_jax.experiment import ConfigError, stages
from tests.data import samples
from tests.data.test_verify import flip_frame, shard
from tests.experiment.tiny import load


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    write_dataset(out, "clips", "train", list(range(50, 62)), samples.make, num_shards=3, progress=False)
    return out


@pytest.fixture
def config(whole, tmp_path, monkeypatch):
    """A config of data that can be damaged, whose stages do nothing but say that they began."""
    config = load("clips")
    config.data.dir = str(shutil.copytree(whole, tmp_path / "data"))
    config.stages = ("animator",)
    config.model.update({"size": 16, "width": 1 / 64, "code_dim": 4})
    config.data.batch_size = 8
    config.animator.update({"perceptual": "pyramid_l1", "start_from": ""})
    monkeypatch.setattr(stages, "run_stage", lambda *arguments, **named: print("begun"))
    return config


def test_whole_data_are_no_obstacle(config, tmp_path, capsys):
    experiment.run(config, tmp_path / "run", verify=True)
    assert "data: verified\nbegun" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing", "truncated", "no index"])
def test_damage_that_can_be_seen_cheaply_is_an_error_at_the_start(config, tmp_path, capsys, damage):
    path = shard(tmp_path / "data")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.with_name(path.name + (".index" if damage == "no index" else "")).unlink()
    with pytest.raises(ConfigError, match=path.name):
        experiment.run(config, tmp_path / "run")
    assert "begun" not in capsys.readouterr().out


def test_a_flipped_byte_is_found_at_the_start_when_asked(config, tmp_path, capsys):
    path = flip_frame(tmp_path / "data")
    experiment.run(config, tmp_path / "run")
    assert "begun" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=rf"{path.name}, record 2 .*checksum mismatch"):
        experiment.run(config, tmp_path / "run", verify=True)
    assert "begun" not in capsys.readouterr().out


def test_damaged_codes_are_an_error_at_the_start(config, tmp_path):
    shutil.copytree(tmp_path / "data", tmp_path / "run" / "codes")
    path = shard(tmp_path / "run" / "codes")
    path.unlink()
    with pytest.raises(ConfigError, match=path.name):
        experiment.run(config, tmp_path / "run")


def test_a_workdir_that_cannot_be_written_is_an_error_at_the_start(config, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/run cannot be written"):
        experiment.run(config, tmp_path / "file" / "run")
    assert "begun" not in capsys.readouterr().out


def test_an_unknown_policy_is_an_error(config, tmp_path):
    config.data.on_corrupt = "ignore"
    with pytest.raises(ConfigError, match=r"data.on_corrupt = 'ignore': 'raise' or 'skip'"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
