"""Several processes on one machine: they meet, stop together, and end together."""

import re
import signal
import sys

import numpy as np
import pytest

from leo_jax.data import manifest
from leo_jax.training.logging import read_rows
from tests.experiment.tiny import NETWORKS
from tests.launch.scripts import LAUNCH, Stubs, wait_for_line

SCRIPT = LAUNCH / "local_multiprocess.sh"


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path)


def test_processes_meet_stop_and_go_on_in_other_numbers(stubs, tmp_path):
    toy = str(
        stubs.add(
            "python",
            f'[[ $1 == -m ]] || exec {sys.executable} "$@"; shift 2; exec {sys.executable} -m tests.launch.toy_run "$@"',
        )
    )
    workdir = f"--workdir={tmp_path / 'run'}"
    more = {"PYTHON": toy, "LEO_PREEMPTED_EXIT": "75"}
    process = stubs.start(SCRIPT, workdir, "--steps=600", PROCESSES="2", DEVICES="2", **more)
    wait_for_line(tmp_path / "run" / "metrics.jsonl", '{"step": 3,', process)
    process.send_signal(signal.SIGINT)  # Ctrl-C
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert {"[0] process 0 of 2, 4 devices", "[1] process 1 of 2, 4 devices"} <= set(output.splitlines())
    saved = int(re.search(r"\[0\] toy: told to stop; step (\d+) is saved", output)[1])

    code, output = stubs.run(SCRIPT, workdir, f"--steps={saved + 3}", PROCESSES="1", DEVICES="4", **more)
    assert code == 0 and f"[0] toy: resumed after step {saved}" in output, output
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == list(range(1, saved + 4))


def test_what_each_process_is_told(stubs):
    variables = "JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES JAX_PROCESS_ID JAX_NUM_CPU_DEVICES JAX_PLATFORMS".split()
    told = " ".join(f"${name}" for name in variables)
    python = str(stubs.add("python", f'echo "{told} has: $4"'))
    code, output = stubs.run(SCRIPT, "--a", "two words", PYTHON=python, PORT="1234", PROCESSES="3", DEVICES="5")
    assert code == 0
    assert sorted(output.splitlines()) == [f"[{i}] localhost:1234 3 {i} 5 cpu has: two words" for i in range(3)]


def test_one_that_fails_ends_the_others(stubs):
    python = str(stubs.add("python", 'trap "" TERM; ((JAX_PROCESS_ID)) && exit 3; exec sleep 600'))
    process = stubs.start(SCRIPT, PYTHON=python, PORT="1234", GRACE_SECONDS="1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output


CONFIG = """
import pathlib

from tests.experiment.tiny import NETWORKS, tiny


def get_config():
    config = tiny(pathlib.Path({folder!r}), ("animator", "codes", *NETWORKS, "sample"))
    config.mesh.update({{"data": -1, "fsdp": 2}})
    return config
"""


@pytest.mark.slow
def test_trains_all_of_the_puppets(stubs, tmp_path):
    """Two processes of two devices: every network, the state cut over two of them, codes by both, samples by the first."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "whole.py").write_text(CONFIG.format(folder=str(tmp_path)))
    run = tmp_path / "run"
    config = f"--config={tmp_path / 'configs' / 'whole.py'}"
    process = stubs.start(SCRIPT, config, f"--workdir={run}", PROCESSES="2", DEVICES="2")
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "[0] 4 cpu device(s), 2 process(es)" in output
    for name in ("animator", *NETWORKS):
        rows = read_rows(run / name / "metrics.jsonl")
        losses = [row for row in rows if any(key.startswith("loss") for key in row)]
        assert losses and all(np.isfinite(list(row.values())).all() for row in losses), name
        assert [row for row in rows if any(key.startswith("heldout/") for key in row)], name
        assert (run / name / f"{name}.npz").is_file() and list((run / name / "pictures").glob("*.png")), name
    assert set(manifest.load(run / "codes").splits) == {"train", "test"}
    assert len(list((run / "sample").rglob("*.mp4"))) >= 3 and (run / "report.html").is_file()
