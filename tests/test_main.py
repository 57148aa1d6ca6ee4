"""The training command: from any folder, with overrides, and with errors that a person can act on."""

import os
import pathlib
import subprocess
import sys

import pytest

from leo_jax import config_files, weights
from leo_jax.training.logging import read_rows

ROOT = pathlib.Path(__file__).parents[1]


def run(tmp_path, *flags):
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "leo_jax.main", f"--workdir={tmp_path / 'run'}", *flags]
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)


def test_trains_from_another_folder_with_overrides(tmp_path):
    overrides = {
        "model.size": 8,
        "model.width": 0.015625,
        "model.code_dim": 4,
        "data.batch_size": 4,
        "data.dir": "here",
        "puppets.num_train": 4,
        "puppets.num_test": 2,
        "puppets.frames": 3,
        "puppets.size": 16,
        "animator.steps": 3,
        "animator.log_every": 1,
        "animator.heldout_pairs": 2,
    }
    flags = [f"--config.{name}={value}" for name, value in overrides.items()]
    done = run(tmp_path, "--config=configs/puppets.py", "--stages=animator", "--profile=1:2", *flags)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir() if path.is_dir()] == ["animator"], (
        "a stage ran that was not asked for"
    )
    folder = tmp_path / "run" / "animator"
    assert [row["step"] for row in read_rows(folder / "metrics.jsonl") if "loss" in row] == [1, 2, 3]
    assert weights.load_description(folder)["animator"]["size"] == 8
    assert (tmp_path / "here" / "manifest.json").exists()
    assert str(folder) in done.stdout, "it does not say where things are"
    assert list(folder.glob("tensorboard/plugins/profile/*/*.xplane.pb")), "--profile left no trace"
    assert "step 3/3 · loss" in done.stdout and "images/s" in done.stdout
    assert "I1" not in done.stderr, "the libraries' notes flood the terminal"


def test_can_be_imported_where_configs_lie():
    """As the console script does in the repository, whose folder is then not on the path."""
    code = f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})]; import leo_jax.main"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_missing_weights_are_one_clear_line(tmp_path):
    done = run(tmp_path, "--config=configs/taichi.py:128")
    assert done.returncode == 1
    assert done.stderr.startswith("error: animator.perceptual = 'vgg19'") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LEO_PREEMPTED_EXIT", "1", "error: LEO_PREEMPTED_EXIT is '1'"),
        ("JAX_COORDINATOR_ADDRESS", "host:1234", "error: JAX_COORDINATOR_ADDRESS is set, and no scheduler"),
    ],
)
def test_wrong_environment_is_one_clear_line(variable, value, message, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, value)
    done = run(tmp_path, "--config=configs/puppets.py")
    assert done.returncode == 1
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=configs/puppets.py:tiny"], "error: ValueError: configs/puppets.py:tiny: 'quick' or 'full'"),
        (["--config.animator.step=3"], "error: the config has no field 'step' Did you mean \"steps\""),
        (["--config.seed=x"], "error: flag --config.seed=x: invalid literal"),
        (
            ["--config=configs/tachi.py"],
            "error: no config at configs/tachi.py: give a file such as --config=configs/puppets.py",
        ),
        (["--wrkdir=runs"], "error: Unknown command line flag 'wrkdir'. Did you mean: workdir"),
    ],
)
def test_wrong_flags_are_one_clear_line(flags, message, tmp_path):
    done = run(tmp_path, *flags)
    assert done.returncode == 1
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config = common.get_confg()", "has no attribute 'get_confg'"),
        ("config = common.get_config(); config.animator.stepz = 3", "no field 'stepz' Did you mean \"steps\""),
    ],
)
def test_a_mistake_in_ones_own_config_is_one_clear_line(line, message, tmp_path):
    own = tmp_path / "configs" / "own.py"
    own.parent.mkdir()
    own.write_text(f"from configs import common\n\ndef get_config():\n    {line}\n    return config\n")
    (own.parent / "common.py").write_text((ROOT / "configs" / "common.py").read_text())
    done = run(tmp_path, "--config=configs/own.py")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the config") and message in done.stderr and done.stderr.count("\n") == 1


def test_flags_reach_the_config(tmp_path):
    done = run(tmp_path, "--config=configs/puppets.py", "--stages=animator,dancing")
    assert done.returncode == 1 and done.stderr.startswith(
        "error: config.stages = ('animator', 'dancing'): name some of"
    )
    done = run(tmp_path, "--config=configs/puppets.py", "--animator=nowhere")
    assert done.returncode == 1 and done.stderr.startswith("error: animator_from = 'nowhere'")


def test_unknown_override_is_an_error(tmp_path):
    done = run(tmp_path, "--config=configs/puppets.py", "--config.animator.stepz=3")
    assert done.returncode != 0 and "stepz" in done.stderr


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--config=configs/taichi.py:128"], f"--config={ROOT}/configs/taichi.py:128"),
        (["--config", "configs/taichi.py"], f"--config={ROOT}/configs/taichi.py"),
        ([], f"--config={ROOT}/configs/puppets.py"),
    ],
)
def test_finds_the_config_from_another_folder(given, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert config_files.with_config_found(["main", *given, "--workdir=x"])[1] == found
    assert str(ROOT) in sys.path, "the config's `from configs import common` would fail"


def test_own_config_comes_first(tmp_path, monkeypatch):
    own = tmp_path / "configs" / "taichi.py"
    own.parent.mkdir()
    own.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert config_files.with_config_found(["main", "--config=configs/taichi.py"])[1] == "--config=configs/taichi.py"
    assert sys.path[0] == str(tmp_path)
