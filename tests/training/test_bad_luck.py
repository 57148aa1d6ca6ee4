"""Bad batches, damaged input and full disks: the run stops with a way out, or goes on and counts; what was saved stays whole."""

import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from leo_jax import checkpoints as checkpointing
from leo_jax.checkpoints import CheckpointError, Checkpoints
from leo_jax.training.logging import read_rows
from leo_jax.training.loop import NonFiniteError
from tests.training.test_loop import ROOT, STEPS, run
from tests.training.toy import ToyBatches, weights_of


def test_a_bad_batch_is_passed_over(tmp_path):
    """The error says by how many; what comes out is what a run that never saw these batches trains."""
    with pytest.raises(NonFiniteError, match=r"at step 26; .*--config.toy.resume_skip_batches=6, ") as caught:
        run(tmp_path / "run", STEPS, ToyBatches(spoiled=25))
    assert caught.value.step == 26
    batches = ToyBatches(spoiled=25)
    weights = weights_of(run(tmp_path / "run", STEPS, batches, skip_batches=6))
    assert batches.position == STEPS + 6

    class Without(ToyBatches):
        def __next__(self):
            if self.position == 20:
                self.position = 26
            return super().__next__()

    assert np.array_equal(weights, weights_of(run(tmp_path / "other", STEPS, Without())))


def test_batches_are_passed_over_once(tmp_path):
    """The same command again, as a scheduler gives it, passes over no more; a larger number passes over the rest."""
    run(tmp_path, 10)
    for steps, skip, position in ((20, 5, 25), (30, 5, 35), (40, 0, 45), (50, 8, 58)):
        batches = ToyBatches()
        run(tmp_path, steps, batches, skip_batches=skip)
        assert batches.position == position


def test_the_first_batches_can_be_passed_over(tmp_path):
    with pytest.raises(NonFiniteError, match=r"no checkpoint was saved before.*resume_skip_batches=3,"):
        run(tmp_path, STEPS, ToyBatches(spoiled=2))
    run(tmp_path, 10, ToyBatches(spoiled=2), skip_batches=3)


def test_left_out_examples_are_counted_whatever_happens_in_between(tmp_path):
    class Damaged(ToyBatches):
        def __next__(self):
            batch = super().__next__()
            return {**batch, "input_skipped": np.arange(self.batch_size) < (self.position % 3)}

    for folder, ends in (("once", (16,)), ("twice", (6, 16))):
        for steps in ends:
            run(tmp_path / folder, steps, Damaged(), log_every=8)
    once, twice = (
        {row["step"]: row["input_skipped"] for row in read_rows(tmp_path / folder / "metrics.jsonl") if "loss" in row}
        for folder in ("once", "twice")
    )
    assert once[8] == sum(step % 3 for step in range(1, 9)) and once[16] == sum(step % 3 for step in range(9, 17))
    assert {step: twice[step] for step in once} | {8: once[8]} == once


def test_no_room_for_the_checkpoints_is_said_before_training(tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda path: usage(100, 60, 40))
    batches = ToyBatches()
    with pytest.raises(CheckpointError, match=r"checkpoints has 0 MB free, and 3 more checkpoints of .*`keep`"):
        run(tmp_path, STEPS, batches)
    assert batches.position == 0
    monkeypatch.setattr(checkpointing.shutil, "disk_usage", lambda path: usage(1000, 0, 1000))
    run(tmp_path, 1, batches)


LIMITED = """
import resource, signal, sys
from leo_jax.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.training import test_bad_luck
test_bad_luck.until_full(sys.argv[1])
"""


def until_full(workdir):
    """In a process of its own: from step 30 on no file can be longer than a few bytes, as on a full disk."""

    class Filling(ToyBatches):
        def __next__(self):
            if self.position == 30:
                resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
            return super().__next__()

    try:
        run(workdir, STEPS, Filling(), log_every=1000, picture_every=0)
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(json.dumps(str(error)))


def test_a_disk_that_fills_up_spoils_no_checkpoint(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if "could not be written" in line]
    assert len(lines) == 1, done.stdout + done.stderr
    assert f"could not be written to {tmp_path}/checkpoints" in lines[0] and "the last whole one is" in lines[0], lines
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest() in (20, 30)
    run(tmp_path, STEPS)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["50", "60"], "leftovers of the failed write"
