"""In place of `leo_jax.main` where launchers are tested: joins the other processes as it does, and trains the loop's toy.

python -m tests.launch.toy_run --workdir=DIR --steps=N
"""

import sys
import time

import jax

from leo_jax.main import join_others
from leo_jax.training.loop import fit
from leo_jax.training.state import make_mesh
from tests.training.toy import ToyBatches, toy_task


class Slow(ToyBatches):
    """Gives time for signals."""

    def __next__(self):
        time.sleep(0.1)
        return super().__next__()


def main(*flags):
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    with join_others():
        train(given)


def train(given):
    print(f"process {jax.process_index()} of {jax.process_count()}, {jax.device_count()} devices", flush=True)
    batches = Slow(local=(jax.process_index(), jax.process_count()))
    options = {"log_every": 1, "picture_every": 0, "checkpoint_every": 1000, "seed": 3, "mesh": make_mesh()}
    fit(toy_task(), batches, workdir=given["workdir"], steps=int(given["steps"]), **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
