"""The SLURM script: who gets the signals, and what becomes of the job when its step has ended."""

import os
import re
import signal
import socket
import sys

import pytest

from leo_jax.processes import preempted_exit
from tests.launch.scripts import LAUNCH, Stubs, wait_for_line

SCRIPT = LAUNCH / "slurm" / "train.sbatch"
JOB = {"SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "12"}


@pytest.fixture
def stubs(tmp_path):
    found = Stubs(tmp_path)
    found.add("scontrol")
    return found


def test_directives():
    found = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.M))
    assert found["signal"] == "TERM@120" and "requeue" in found
    assert found["open-mode"] == "append", "a requeued job would write over its log"
    assert found["ntasks-per-node"] == found["gpus-per-node"], "the default is a task for each GPU"


@pytest.mark.parametrize(("code", "requeued", "ends"), [(0, False, 0), (75, True, 0), (143, True, 0), (1, False, 1)])
def test_only_a_stopped_run_goes_back_into_the_queue(code, requeued, ends, stubs):
    stubs.add("srun", f"exit {code}")
    got, output = stubs.run(SCRIPT, "--config=configs/puppets.py", "--workdir=has space", **JOB)
    assert got == ends, output
    assert stubs.calls("scontrol") == (["scontrol requeue 4711"] if requeued else [])
    (call,) = stubs.calls("srun")
    assert call.endswith("python -m leo_jax.main --config=configs/puppets.py --workdir=has space")
    for flag in ("--kill-on-bad-exit=1", "--gpu-bind=none", "--cpus-per-task=12"):
        assert flag in call


@pytest.mark.parametrize("code", [76, 134, 137])
def test_a_task_or_node_that_dies_is_got_over_but_not_for_ever(code, stubs, tmp_path):
    """SLURM itself marks a node down after minutes, when the step has long ended because the others noticed."""
    stubs.add("srun", f"exit {code}")
    job = {**JOB, "SLURM_SUBMIT_DIR": str(tmp_path)}
    for _ in range(9):
        got, output = stubs.run(SCRIPT, **job)
        assert got == 0 and "a task or a node died; going on from the last checkpoint" in output, output
    got, output = stubs.run(SCRIPT, **job)
    assert got == code and "for the tenth time" in output, output
    assert stubs.calls("scontrol") == ["scontrol requeue 4711"] * 9
    stubs.add("srun", "exit 0")
    assert stubs.run(SCRIPT, **job)[0] == 0 and not list(tmp_path.glob("*.deaths")), "a finished run leaves its count"


def test_training_is_told_which_code_means_stopped(stubs):
    stubs.add("srun", 'exit "$LEO_PREEMPTED_EXIT"')
    assert stubs.run(SCRIPT, **JOB)[0] == 0
    assert stubs.calls("scontrol"), "the script does not know the code that it asks the training for"
    assert preempted_exit({"LEO_PREEMPTED_EXIT": "75"}) == 75


def test_a_cluster_that_does_not_requeue_is_told_of(stubs):
    stubs.add("srun", "exit 75")
    stubs.add("scontrol", "exit 1")
    code, output = stubs.run(SCRIPT, **JOB)
    assert code == 75 and "submit the same command again" in output


def test_cancelled_job_saves_and_is_not_requeued(stubs, tmp_path):
    """`scancel` signals the script and the tasks: the script has to outlive it, as the tasks are saving."""
    stubs.add(
        "srun",
        f"echo $$ >{tmp_path}/pid; trap 'sleep 1; exit 75' TERM; echo srun waits >>{stubs.log}; while :; do sleep 0.1; done",
    )
    process = stubs.start(SCRIPT, **JOB)
    wait_for_line(stubs.log, "srun waits", process)
    process.send_signal(signal.SIGTERM)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert not stubs.calls("scontrol")


# Two tasks on one host, as srun would start them on two: JAX reads the same variables.
SRUN = """
while [[ $1 == --* ]]; do shift; done
for index in 0 1; do
    SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_PROCID=$index SLURM_LOCALID=$index SLURM_NODEID=0 \\
        SLURM_STEP_TASKS_PER_NODE=2 "$@" &
    echo $! >{folder}/pid-$index
done
wait -n; first=$?
wait -n; second=$?
exit $((first > second ? first : second))
"""


def test_two_tasks_meet_save_and_go_on(stubs, tmp_path):
    """The whole way, with SLURM's part played: JAX's detection, SIGTERM to the tasks, the requeue, the next run."""
    stubs.add("srun", SRUN.format(folder=tmp_path))
    toy = stubs.add("python", f'shift 2; exec {sys.executable} -m tests.launch.toy_run "$@"')
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    more = {"JAX_COORDINATOR_PORT": port, "JAX_NUM_CPU_DEVICES": "2", "PYTHON": str(toy)}
    rows = tmp_path / "run" / "metrics.jsonl"
    process = stubs.start(SCRIPT, f"--workdir={tmp_path / 'run'}", "--steps=600", **JOB, **more)
    wait_for_line(rows, '{"step": 3,', process)
    for index in range(2):
        os.kill(int((tmp_path / f"pid-{index}").read_text()), signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and stubs.calls("scontrol") == ["scontrol requeue 4711"], output
    assert "process 1 of 2, 4 devices" in output
    saved = int(re.search(r"step (\d+) is saved", output)[1])

    code, output = stubs.run(SCRIPT, f"--workdir={tmp_path / 'run'}", f"--steps={saved + 3}", **JOB, **more)
    assert code == 0 and len(stubs.calls("scontrol")) == 1, output
    assert f"resumed after step {saved}" in output
