"""Traces hold the steps that were asked for, on whichever side of an interruption they lie."""

import gzip
import json

import pytest

from leo_jax.training.loop import fit
from leo_jax.training.profiling import parse_range
from leo_jax.training.state import make_mesh
from tests.training.toy import ToyBatches, toy_task


def run(workdir, steps, profile):
    options = {"log_every": 4, "picture_every": 0, "checkpoint_every": 10, "seed": 3, "mesh": make_mesh()}
    return fit(toy_task(), ToyBatches(), workdir=workdir, steps=steps, profile=profile, **options)


def traced(workdir):
    """For each trace in the workdir, by time, the numbers of the steps it shows."""
    found = []
    for file in sorted((workdir / "tensorboard" / "plugins" / "profile").glob("*/*.trace.json.gz")):
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
        found.append([int(e["args"]["step_num"]) for e in events if e.get("name") == "toy"])
        assert (file.parent / file.name.replace("trace.json.gz", "xplane.pb")).exists(), "TensorBoard reads this one"
    return found


def test_traces_the_steps_between(tmp_path, capsys):
    run(tmp_path, 9, (4, 7))
    assert traced(tmp_path) == [[4, 5, 6]]
    said = capsys.readouterr().out
    assert "tracing from step 4 to 7" in said and f"tensorboard --logdir {tmp_path}" in said


@pytest.mark.parametrize(
    ("first", "steps", "profile", "numbers"),
    [
        (0, 5, (3, 100), [[3, 4]]),  # the run ends first
        (5, 9, (3, 7), [[5, 6]]),  # and here it begins late
        (5, 9, (2, 5), []),
        (0, 3, (3, 5), []),
        (0, 3, None, []),
    ],
)
def test_traces_what_there_is(first, steps, profile, numbers, tmp_path):
    if first:
        run(tmp_path, first, None)
    run(tmp_path, steps, profile)
    assert traced(tmp_path) == numbers


def test_parses_ranges():
    assert parse_range("10:20") == (10, 20) and parse_range("") is None
    for wrong in ("10", "20:10", "5:5", "a:b", "1:2:3", "-1:3"):
        with pytest.raises(ValueError, match=f"profile = '{wrong}': two numbers"):
            parse_range(wrong)
