"""SIGKILL at random moments of a whole run changes nothing of what comes out."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.survival import kills

ROOT = pathlib.Path(__file__).parents[2]


def test_the_plan_hits_every_phase_in_order():
    plan = kills.planned(50, 0, kills.PHASES)
    assert len(plan) == 50
    numbers = [list(kills.PHASES).index(phase) for phase, *_ in plan]
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(kills.PHASES)))
    assert plan == kills.planned(50, 0, kills.PHASES) != kills.planned(50, 1, kills.PHASES)


def test_steps_made_again_are_counted():
    begun = "animator: /w\nstep 1/9 · l\nstep 2/9 · l\nstep 3/9 · l\n"
    assert kills.lost_steps(f"{begun}animator: /w\nanimator: resumed after step 2\nstep 3/9 · l\n") == [1]
    assert kills.lost_steps(f"{begun}animator: /w\nstep 1/9 · l\ncodes: /w\nstart: /w\nstep 1/9 · l\n") == [3]


def survive(tmp_path, *arguments):
    """The driver's report; it forks, which a process with JAX's threads must not."""
    command = [sys.executable, "-m", "tests.survival.kills", str(tmp_path), *map(str, arguments)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


def test_a_few_kills_change_nothing(tmp_path):
    report = survive(tmp_path, 4, 1, "short")
    assert (report["kills"], report["differences"], report["leftovers at the end"]) == (4, [], [])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fifty_kills_change_nothing(tmp_path):
    report = survive(tmp_path, 50, 0)
    assert (report["kills"], report["differences"], report["leftovers at the end"]) == (50, [], [])
    assert set(report["by phase"]) == set(kills.PHASES), "a phase was never hit"
