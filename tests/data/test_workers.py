"""A process that is killed leaves no workers behind: they would hold memory and files for ever.

python -m tests.data.test_workers pool|input DATA    # works with two workers until it is killed
"""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from leo_jax.data import pipeline, writing
from leo_jax.data.source import open_split
from tests.data import samples

ROOT = pathlib.Path(__file__).parents[2]


def work(kind, data):
    if kind == "pool":
        for _ in writing._run(samples.make, list(range(10**6)), 2, False):
            print("working", flush=True)
    batches = pipeline.pairs(open_split(data, "train"), batch_size=8, seed=3, size=16, threads=1, workers=2)
    for _ in batches:
        print("working", flush=True)


def children(pid):
    """Processes that `pid` has started and that still live."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split() if lives(int(child))]


def lives(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not pathlib.Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="no /proc here")
@pytest.mark.parametrize("kind", ["pool", "input"])
def test_workers_of_a_killed_process_end(tmp_path, kind):
    writing.write_dataset(tmp_path, "clips", "train", list(range(50, 62)), samples.make, num_shards=3, progress=False)
    command = [sys.executable, "-m", "tests.data.test_workers", kind, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert "working" in process.stdout.readline()
        while len(workers := children(process.pid)) < 3:  # two, and Python's own that counts their resources
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    end = time.monotonic() + 120
    while left := [pid for pid in workers if lives(pid)]:
        assert time.monotonic() < end, f"{len(left)} of {len(workers)} workers outlived the process that was killed"
        time.sleep(0.1)


if __name__ == "__main__":
    work(*sys.argv[1:])
