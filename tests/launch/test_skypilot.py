"""SkyPilot takes the tasks, where it is installed (the extra `launch`, a large one); what is plain is checked without it."""

import os
import re
import subprocess

import jax
import pytest
import yaml

from leo_jax import processes
from leo_jax.experiment import stages
from tests.experiment.tiny import load
from tests.launch.scripts import LAUNCH

FILES = sorted((LAUNCH / "skypilot").glob("*.yaml"))
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@each
def test_skypilot_takes_it(path, tmp_path, monkeypatch):
    sky = pytest.importorskip("sky", reason="skypilot is not installed: pip install -e '.[launch]'")
    config = yaml.safe_load(path.read_text())
    if "BUCKET" in config["envs"]:
        with pytest.raises(ValueError, match="BUCKET"):
            sky.Task.from_yaml(str(path))  # it has no default: somebody else's bucket would be asked for
    filled = tmp_path / path.name
    filled.write_text(path.read_text().replace("  BUCKET:\n", "  BUCKET: gs://leo-runs\n"))
    task = sky.Task.from_yaml(str(filled))
    (resources,) = task.resources
    assert task.num_nodes == config["num_nodes"]
    assert resources.job_recovery["recover_on_exit_codes"] == [75, 143]
    assert task.storage_mounts.keys() | task.volumes.keys() == {"/runs"}


@each
def test_a_stopped_run_is_told_from_a_finished_and_a_failed_one(path):
    config = yaml.safe_load(path.read_text())
    recovery = config["resources"]["job_recovery"]
    lines = config["run"].splitlines()
    (code,) = [line.partition("=")[2] for line in lines if line.startswith("export LEO_PREEMPTED_EXIT=")]
    assert processes.preempted_exit({"LEO_PREEMPTED_EXIT": code}) in recovery["recover_on_exit_codes"]
    assert 0 < recovery["max_restarts_on_errors"] < 10
    assert lines[-1].startswith("exec "), "a shell between would have to pass SIGTERM on"


@each
def test_flags_reach_the_training(path, tmp_path):
    run = yaml.safe_load(path.read_text())["run"]
    python = tmp_path / "leo-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" "$LEO_PREEMPTED_EXIT"')
    python.chmod(0o755)
    env = os.environ | {"HOME": str(tmp_path), "FLAGS": "--config=configs/puppets.py --workdir=/runs/x"}
    done = subprocess.run(["bash", "-c", run], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["-m", "leo_jax.main", "--config=configs/puppets.py", "--workdir=/runs/x", "75"]


@each
def test_batches_divide_over_the_devices_that_are_asked_for(path, monkeypatch):
    """Else the first thing that somebody tries ends with an error."""
    task = yaml.safe_load(path.read_text())
    count = task["num_nodes"] * int(re.search(r"^(?:tpu-v5litepod-|H100:)(\d+)", task["resources"]["accelerators"])[1])
    monkeypatch.setattr(jax, "device_count", lambda: count)
    config = load("puppets")
    flags = dict(flag.split("=") for flag in task["envs"]["FLAGS"].split())
    assert flags.pop("--config") == "configs/puppets.py" and flags.pop("--workdir")
    config.update_from_flattened_dict({name.removeprefix("--config."): int(value) for name, value in flags.items()})
    for name, stage in stages.stages_of(config).items():
        if name in config.stages:
            stage.check(config)


def test_nodes_meet_by_what_skypilot_tells():
    nodes = yaml.safe_load((LAUNCH / "skypilot" / "gpu_cluster.yaml").read_text())["num_nodes"]
    env = {"SKYPILOT_NUM_NODES": str(nodes), "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8"}
    told = processes.joining(env | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, has=lambda package: False)
    assert (told["coordinator_address"], told["num_processes"], told["process_id"]) == ("10.0.0.7:8476", 2, 1)
