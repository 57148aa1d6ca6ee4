"""The loop's promises: exact resume after any kind of end, and nothing bad ever saved."""

import io
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from leo_jax.checkpoints import Checkpoints
from leo_jax.training.logging import RunLog, read_rows
from leo_jax.training.loop import NonFiniteError, Preempted, fit
from leo_jax.training.state import init_state, make_mesh
from leo_jax.training.stopping import Stop
from tests.training.toy import ToyBatches, step, toy_task, weights_of

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 60


def run(workdir, steps, batches=None, task=None, **options):
    options = {"log_every": 4, "picture_every": 20, "checkpoint_every": 10, "seed": 3, "mesh": make_mesh(), **options}
    return fit(task or toy_task(), batches or ToyBatches(), workdir=workdir, steps=steps, **options)


def start(workdir, *arguments, devices=1):
    """The toy program in a process of its own, its output in a pipe."""
    command = [sys.executable, "-m", "tests.training.toy", str(workdir), *map(str, arguments)]
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=env, **pipes)


def wait_for(process, text):
    """Reads the process's output up to the line that contains `text`."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"the run ended without printing {text!r}:\n{''.join(seen)}")


def numbers(workdir):
    """Rows of metrics.jsonl without the rates, which are the clock's."""
    clock = ("images_per_second", "input_wait")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(workdir / "metrics.jsonl")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(workdir, final weights) of a run that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, weights_of(run(workdir, STEPS))


def test_learns(undisturbed):
    workdir, weights = undisturbed
    np.testing.assert_allclose(weights, [1, 2, 3], atol=0.2, err_msg="the toy does not learn y = x·[1, 2, 3]")
    rows = numbers(workdir)
    assert [row["step"] for row in rows] == list(range(4, STEPS + 1, 4))
    assert rows[-1]["loss"] < 0.1 * rows[0]["loss"]


def test_row_is_mean_since_last_row(tmp_path):
    run(tmp_path / "each", 8, log_every=1)
    run(tmp_path / "four", 8, log_every=4)
    each = [row["loss"] for row in numbers(tmp_path / "each")]
    four = [row["loss"] for row in numbers(tmp_path / "four")]
    np.testing.assert_allclose(four, [np.mean(each[:4]), np.mean(each[4:])], rtol=1e-12)


def test_extending_a_run_is_exact(undisturbed, tmp_path):
    run(tmp_path, 26)
    weights = weights_of(run(tmp_path, STEPS))
    assert np.array_equal(weights, undisturbed[1]), "26 + 34 steps do not end with the bits of 60 steps"


def test_fewer_steps_than_are_done_are_refused(tmp_path):
    run(tmp_path, 12)
    with pytest.raises(ValueError, match=r"toy: 11 steps are asked for, .*checkpoints has 12 already"):
        run(tmp_path, 11)
    run(tmp_path, 12)  # nothing left to do is no error


def test_killed_run_resumes_exactly(undisturbed, tmp_path):
    process = start(tmp_path, STEPS, 0.0, "", 0, 1, 37)
    wait_for(process, "taking 37")  # where it stands still, between the checkpoints of 30 and 40, rows up to 36 written
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = [row["step"] for row in numbers(tmp_path)]
    assert max(written) > 30, "the kill came too early to leave rows past the checkpoint"
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 38, "lo')  # a row cut off in the middle, as a full disk or a crash leaves it

    process = start(tmp_path, STEPS)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    resumed = next(line for line in output.splitlines() if line.startswith("taking"))
    assert resumed in ("taking 20", "taking 30"), f"went on at the wrong place of the input: {resumed}"
    assert np.array_equal(np.load(tmp_path / "weights-0.npy"), undisturbed[1]), "a killed and resumed run differs"
    assert numbers(tmp_path) == numbers(undisturbed[0]), "metrics.jsonl is not that of an undisturbed run"


def test_leftovers_of_a_killed_save_are_removed(tmp_path):
    run(tmp_path, 10)
    leftover = tmp_path / "checkpoints" / "20.orbax-checkpoint-tmp"
    leftover.mkdir()
    run(tmp_path, 20)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["10", "20"]


def test_sigterm_saves_and_exits_0(undisturbed, tmp_path):
    process = start(tmp_path, STEPS, 0.2)
    wait_for(process, "taking 13")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        saved = checkpoints.latest()
    assert 13 < saved < STEPS and f"step {saved} is saved" in output, output
    assert np.array_equal(weights_of(run(tmp_path, STEPS)), undisturbed[1]), "a preempted and resumed run differs"
    assert numbers(tmp_path) == numbers(undisturbed[0])


def test_preempted_is_an_exit_with_code_0(tmp_path):
    class Interrupted(ToyBatches):
        def __next__(self):
            if self.position == 5:
                signal.raise_signal(signal.SIGINT)
            return super().__next__()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Preempted) as caught:
        run(tmp_path, STEPS, Interrupted())
    assert (caught.value.code, caught.value.step) == (0, 6), "the step during which the signal came is to be finished"
    assert signal.getsignal(signal.SIGINT) is before, "the signal's handler was not given back"


def test_sigterm_may_come_again_and_a_second_ctrl_c_acts():
    with Stop() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.asked and stop.reached(3)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("moment", ["last step", "last save"])
def test_a_signal_at_the_very_end_is_not_lost(undisturbed, tmp_path, monkeypatch, moment):
    """What comes after the training must not begin; the same command finds it finished."""

    class Interrupted(ToyBatches):
        def __next__(self):
            if moment == "last step" and self.position == STEPS - 1:
                signal.raise_signal(signal.SIGTERM)
            return super().__next__()

    def wait(self):
        if moment == "last save" and self.latest() == STEPS:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)
        return inner(self)

    inner = Checkpoints.wait
    monkeypatch.setattr(Checkpoints, "wait", wait)
    with pytest.raises(Preempted) as caught:
        run(tmp_path, STEPS, Interrupted())
    assert caught.value.step == STEPS
    assert np.array_equal(weights_of(run(tmp_path, STEPS)), undisturbed[1])
    assert numbers(tmp_path) == numbers(undisturbed[0])


def test_exit_code_of_a_preempted_run_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LEO_PREEMPTED_EXIT", "75")
    assert Preempted(3).code == 75
    monkeypatch.setenv("LEO_PREEMPTED_EXIT", "1")
    with pytest.raises(ValueError, match="'1': it has to be 0 or a number from 3 to 125"):
        Preempted(3)


@pytest.mark.parametrize("spoiled", [20, 25, 29])
def test_non_finite_loss_stops_the_run(tmp_path, spoiled):
    with pytest.raises(NonFiniteError, match=rf"loss is nan at step {spoiled + 1}; .*last good.*checkpoints/20\."):
        run(tmp_path, STEPS, ToyBatches(spoiled=spoiled))
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == [10, 20], "a step after the bad one was saved as good"


def test_non_finite_state_is_not_saved(tmp_path):
    def spoil(state, frozen, batch, key):
        state, metrics = step(state, frozen, batch, key)
        bad = jnp.where(state["steps"] == 20, jnp.inf, jnp.zeros((), jnp.float32))
        return {**state, "momentum": state["momentum"] + bad[None]}, metrics

    with pytest.raises(NonFiniteError, match=r"state is not finite after step 20; .*checkpoints/10\."):
        run(tmp_path, STEPS, task=toy_task(step=spoil))


def test_four_devices_train_what_one_does(undisturbed, tmp_path):
    process = start(tmp_path, STEPS, devices=4)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    weights = np.load(tmp_path / "weights-0.npy")
    np.testing.assert_allclose(weights, undisturbed[1], rtol=1e-5, err_msg="4 devices do not train what 1 does")


def test_batch_must_divide_over_devices(tmp_path):
    process = start(tmp_path, STEPS, devices=3)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "the global batch of 8 does not divide over 3 devices" in output and "a multiple of 3" in output, output


def test_input_that_ends_is_an_error(tmp_path):
    class Short(ToyBatches):
        def __next__(self):
            if self.position == 7:
                raise StopIteration
            return super().__next__()

    with pytest.raises(RuntimeError, match="ended after 7 steps"):
        run(tmp_path, STEPS, Short())


def test_best_checkpoint_stays(tmp_path):
    def evaluate(state, frozen):
        return {"distance": abs(float(state["steps"]) - 20)}

    run(tmp_path, 50, task=toy_task(evaluate=evaluate), best_metric="distance")
    with Checkpoints(tmp_path / "checkpoints", best_metric="distance", read_only=True) as checkpoints:
        assert (checkpoints.steps(), checkpoints.best()) == ([20, 40, 50], 20)
    measured = {row["step"]: row["distance"] for row in numbers(tmp_path) if "distance" in row}
    assert measured == {10: 10, 20: 0, 30: 10, 40: 20, 50: 30}


def test_pictures(undisturbed):
    folder = undisturbed[0] / "pictures"
    assert sorted(p.name for p in folder.iterdir()) == ["00000020.png", "00000040.png", "00000060.png"]
    assert Image.open(folder / "00000020.png").size == (8, 16), "a sheet of four examples was asked for"
    assert list((undisturbed[0] / "tensorboard").glob("events.out.*")), "no TensorBoard events"


def test_live_line(undisturbed, tmp_path, capsys):
    run(tmp_path, 8)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(lines) == 2 and "loss" in lines[0] and "images/s" in lines[0] and "ETA" in lines[0], lines
    assert "detail" not in lines[0], "names with a slash are for the log file"


def test_live_line_says_when_the_input_is_the_limit(tmp_path, capsys):
    class Slow(ToyBatches):
        def __next__(self):
            time.sleep(0.3)
            return super().__next__()

    run(tmp_path, 8, Slow())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert "of the time waits for input: data.workers" in lines[-1], lines
    assert read_rows(tmp_path / "metrics.jsonl")[-1]["input_wait"] > 0.5

    with RunLog(tmp_path, step=0, steps=4) as log:
        log.row(1, {"loss": 0.5}, 10.0, 1.0, 0.37)
        log.row(2, {"loss": 0.5}, 10.0, 1.0, 0.04)
    first, second = capsys.readouterr().out.splitlines()
    assert "37% of the time waits" in first and "waits" not in second, "a little waiting is no news"


def test_terminal_gets_a_bar(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with RunLog(tmp_path, step=0, steps=4, stream=stream) as log:
        for done in range(1, 5):
            log.tick()
            log.row(done, {"loss": 0.5, "detail/one": 3.0}, 10.0, 1.0)
        log.results(4, {"heldout/l1": 0.25})
    text = stream.getvalue()
    assert "4/4 loss 0.5 · 10.0 images/s ETA" in text and "detail" not in text, text
    assert "step 4 · heldout/l1 0.25" in text, "results are to stand above the bar"


def test_state_is_initialised_from_the_seed():
    mesh = make_mesh()
    one, same, other = (init_state(toy_task(), seed, mesh) for seed in (0, 0, 1))
    assert np.array_equal(weights_of(one), weights_of(same))
    assert not np.array_equal(weights_of(one), weights_of(other))


def test_tensorflow_is_not_imported():
    code = "import leo_jax.training.loop, sys; assert not {'tensorflow', 'clu'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes(undisturbed, tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    processes = [start(tmp_path, STEPS, 0.2, address, index, 2) for index in range(2)]
    wait_for(processes[0], "taking 13")
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        saved = checkpoints.latest()
    assert 13 < saved < STEPS
    assert f"step {saved} is saved" in outputs[0] and "is saved" not in outputs[1], "only process 0 speaks"
    np.testing.assert_allclose(
        weights_of(run(tmp_path, STEPS)),
        undisturbed[1],
        rtol=1e-5,
        err_msg="2 processes × 2 devices, then 1 × 1, do not train what 1 × 1 does",
    )
