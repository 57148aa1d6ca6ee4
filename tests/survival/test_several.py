"""Real processes that meet by jax.distributed: one is told to stop, one dies, others take their place."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from leo_jax.checkpoints import Checkpoints
from leo_jax.data.writing import write_dataset
from leo_jax.peers import PEER_DIED
from leo_jax.training.logging import read_rows
from tests.data import samples

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 120
DEAD_AFTER = 10  # seconds, where one of the processes is to die; 60 as always elsewhere
SLACK = 30  # seconds beyond it, on a busy machine


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    write_dataset(out, "clips", "train", list(range(50, 80)), samples.make, num_shards=3, progress=False)
    return out


class Group:
    """Processes of one run, each with its output in a file."""

    def __init__(self, folder, count, *arguments, dead_after=60):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            address = f"localhost:{probe.getsockname()[1]}"
        base = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "LEO_DEAD_AFTER": str(dead_after)}
        base |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        folder.mkdir(exist_ok=True)
        self.logs = [folder / f"log-{i}" for i in range(count)]
        self.processes = []
        for i, log in enumerate(self.logs):
            command = [sys.executable, "-m", "tests.survival.several", *map(str, arguments)]
            with open(log, "w") as file:
                env = {**base, "JAX_PROCESS_ID": str(i)}
                process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT)
            self.processes.append(process)

    def wait_for(self, true, seconds=300):
        end = time.monotonic() + seconds
        while not true():
            ended = [process.poll() for process in self.processes]
            assert time.monotonic() < end and ended.count(None) == len(ended), f"{ended}\n{self.output()}"
            time.sleep(0.1)

    def codes(self, seconds=300):
        """Exit codes of all, once they have ended."""
        end = time.monotonic() + seconds
        try:
            return [process.wait(max(end - time.monotonic(), 0.1)) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def output(self):
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in self.logs)


def train(folder, data, count, steps=STEPS, seconds=0.0, **options):
    return Group(folder, count, "train", folder, data, steps, seconds, **options)


def rows(folder):
    return [row["step"] for row in read_rows(folder / "metrics.jsonl")]


def order(folder, count):
    """The videos of each global batch that `count` processes took, in order."""
    parts = [(folder / f"order-{count}-{i}").read_text().splitlines() for i in range(count)]
    assert len({len(part) for part in parts}) == 1, "the processes took different numbers of batches"
    return [" ".join(row) for row in zip(*parts, strict=True)]


def test_told_to_stop_killed_and_finished(data, tmp_path):
    """SIGTERM to one of two; SIGKILL to one of two; the end by one: the same order of videos all along."""
    folder = tmp_path / "run"
    group = train(folder, data, 2, seconds=0.1)
    group.wait_for(lambda: 7 in rows(folder))
    group.processes[1].send_signal(signal.SIGTERM)
    assert group.codes() == [0, 0], group.output()
    saved = int(re.search(r"told to stop; step (\d+) is saved", group.logs[0].read_text())[1])
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest() == saved < STEPS
    assert "is saved" not in group.logs[1].read_text(), "only process 0 speaks"
    first = order(folder, 2)
    assert len(first) == saved, "one of the processes went on further than the other"

    group = train(folder, data, 2, steps=1000, seconds=0.1, dead_after=DEAD_AFTER)
    group.wait_for(lambda: saved + 3 in rows(folder))
    group.processes[1].kill()
    began = time.monotonic()
    codes = group.codes()
    assert codes == [PEER_DIED, -signal.SIGKILL], group.output()
    assert time.monotonic() - began < DEAD_AFTER + SLACK, "the other hung"
    dead = f"process 1 of 2 ({socket.gethostname()}, pid {group.processes[1].pid})"
    assert f"error: {dead} has given no sign of life for {DEAD_AFTER} s" in group.logs[0].read_text()

    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        latest = checkpoints.latest()
    group = train(folder, data, 1)
    assert group.codes() == [0], group.output()
    alone = train(tmp_path / "alone", data, 1)
    assert alone.codes() == [0], alone.output()
    expected = order(tmp_path / "alone", 1)
    assert first == expected[:saved], "two processes take other batches than one"
    assert order(folder, 1) == expected[latest:], "the order changed with the number of processes"
    assert rows(folder) == list(range(1, STEPS + 1))
    found, wanted = (np.load(path / "kernel-0.npy") for path in (folder, tmp_path / "alone"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_first_process_is_killed(data, tmp_path):
    """It keeps the list of the living: JAX ends the others when it is gone."""
    group = train(tmp_path / "run", data, 2, steps=1000, seconds=0.1, dead_after=DEAD_AFTER)
    group.wait_for(lambda: 3 in rows(tmp_path / "run"))
    group.processes[0].kill()
    began = time.monotonic()
    codes = group.codes()
    assert time.monotonic() - began < DEAD_AFTER + SLACK, "the other hung"
    assert codes[0] == -signal.SIGKILL and codes[1] in (PEER_DIED, -signal.SIGABRT), codes
    text = group.logs[1].read_text()
    assert "another task died" in text or "error: process 0 of 2" in text, text


@pytest.mark.slow
def test_one_that_hangs_is_taken_for_dead(data, tmp_path):
    group = train(tmp_path / "run", data, 2, steps=1000, seconds=0.1, dead_after=DEAD_AFTER)
    group.wait_for(lambda: 3 in rows(tmp_path / "run"))
    group.processes[0].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert group.processes[1].wait(300) == PEER_DIED
    assert time.monotonic() - began < DEAD_AFTER + SLACK
    group.processes[0].kill()
    group.codes()
    assert f"error: process 0 of 2 has not answered for {DEAD_AFTER} s" in group.logs[1].read_text()


def test_a_workdir_of_each_host_is_an_error_at_the_start(tmp_path):
    """Else the first checkpoint would wait for ever for what another host writes to its own disk."""
    group = Group(tmp_path / "run", 2, "look", tmp_path, "one")
    assert group.codes() == [0, 0] and group.output().count("one folder []") == 2, group.output()
    group = Group(tmp_path / "run", 2, "look", tmp_path, "own")
    assert group.codes() == [1, 1], group.output()
    assert "is not one folder for all hosts: process 1 of 2 does not see there what process 0" in group.output()


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_work_of_one_is_broken_off_when_any_is_told_to_stop(tmp_path, told):
    """As the stages codes, sample and evaluate are done: it does not wait for the next training."""
    group = Group(tmp_path / "run", 2, "wait", 120)
    group.wait_for(lambda: "working" in group.logs[0].read_text() and "there" in group.logs[1].read_text())
    group.processes[told].send_signal(signal.SIGTERM)
    assert group.codes() == [0, 0], group.output()
    assert "told to stop; what is finished is kept" in group.logs[0].read_text()
    assert "worked to the end" not in group.output() and "nobody was told" not in group.output()


@pytest.mark.slow
def test_the_others_wait_as_long_as_one_works(tmp_path):
    """Longer than the half minute after which connections between CPUs give up."""
    group = Group(tmp_path / "run", 2, "wait", 40)
    assert group.codes() == [0, 0], group.output()
    assert group.output().count("nobody was told to stop") == 2


@pytest.mark.slow
def test_an_error_in_one_ends_all_with_its_reason(data, tmp_path):
    (tmp_path / "run" / "order-4-1").mkdir(parents=True)  # process 1 cannot write there
    group = train(tmp_path / "run", data, 4, steps=1000, seconds=0.1)
    assert group.codes() == [1] * 4, group.output()
    for i in (0, 2, 3):
        assert "error: process 1 ended with IsADirectoryError" in group.logs[i].read_text(), group.output()


@pytest.mark.slow
def test_two_then_four_then_one(data, tmp_path):
    """SIGTERM to one each time; parameters are cut over two devices, then two of four, then on one."""
    folder, taken = tmp_path / "run", []
    for count in (2, 4):
        start = len(taken)
        group = train(folder, data, count, seconds=0.2)
        group.wait_for(lambda start=start: start + 4 in rows(folder))
        group.processes[count - 1].send_signal(signal.SIGTERM)
        assert group.codes() == [0] * count, group.output()
        taken += order(folder, count)
        assert f"step {len(taken)} is saved" in group.logs[0].read_text()
    assert train(folder, data, 1).codes() == [0]
    alone = train(tmp_path / "alone", data, 1)
    assert alone.codes() == [0], alone.output()
    assert taken + order(folder, 1) == order(tmp_path / "alone", 1)
    found, wanted = (np.load(path / "kernel-0.npy") for path in (folder, tmp_path / "alone"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
