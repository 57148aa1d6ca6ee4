"""The one training loop. `fit(task, batches, …)` trains any task, resumes exactly, and leaves quietly when told to."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from leo_jax import peers
from leo_jax.checkpoints import Checkpoints, WrongCheckpoint
from leo_jax.data.pipeline import SKIPPED
from leo_jax.training import profiling
from leo_jax.training.logging import EVENTS, RunLog
from leo_jax.training.meter import Meter, NonFiniteError
from leo_jax.training.state import (
    Batches,
    PyTree,
    Task,
    abstract_state,
    compiled_step,
    first_examples,
    init_state,
    place_batch,
    replicated,
    root_key,
)
from leo_jax.training.stopping import Preempted, Stop


def fit(
    task: Task,
    batches: Batches,
    *,
    workdir: str | os.PathLike[str],
    mesh: Mesh,
    steps: int,
    seed: int,
    log_every: int = 50,
    picture_every: int = 500,
    checkpoint_every: int = 500,
    keep: int = 2,
    skip_batches: int = 0,
    best_metric: str | None = None,
    picture_examples: int = 4,
    profile: profiling.Range | None = None,
) -> PyTree:
    """Trains until `steps` steps are finished, from the latest checkpoint in `workdir` if there is one.

    Randomness and input are functions of (seed, step), so a run that was cut off and resumed ends with the same bits as
    one that was not, on the same devices. `workdir` gets checkpoints/, metrics.jsonl, tensorboard/ and pictures/.

    Args:
        task: what to train.
        batches: this process's part of each global batch, arrays with the batch axis first.
        workdir: the run's folder, the same for all processes.
        mesh: one 'data' axis over all devices; the global batch is shared out along it.
        steps: finished steps at which to end.
        seed: of the run; step k uses fold_in(key(seed), k).
        log_every: steps between rows, which are means over the steps since the last one.
        picture_every: steps between pictures; 0 for none.
        checkpoint_every: steps between checkpoints, each preceded by `task.evaluate`. One is also made at the end.
        keep: number of latest checkpoints that stay.
        skip_batches: batches of the input to have been passed over by now, in this start or before the checkpoint.
        best_metric: name in `task.evaluate`'s result; the checkpoint where it was lowest stays too.
        picture_examples: examples a picture shows.
        profile: (start, stop), numbers of finished steps between which the first process traces; in tensorboard/.

    Returns:
        The state after the last step.

    Raises:
        NonFiniteError: a metric or the state stopped being finite; names the step and the last good checkpoint.
        Preempted: SIGTERM or Ctrl-C came; the current step was finished and saved. In a run of several processes one that
            comes in the last steps is left to whoever asks `peers` next.
        ValueError: the global batch does not divide over the devices; WrongCheckpoint, one of it: the latest checkpoint is
            of another model, or of a later step than `steps`.
    """
    workdir = pathlib.Path(os.path.abspath(workdir))
    with Stop() as stop, Checkpoints(workdir / "checkpoints", keep_last=keep, best_metric=best_metric) as checkpoints:
        checkpoints.check_room(abstract_state(task, seed, mesh))
        state, position, first = _begin(task, batches, checkpoints, seed, mesh)
        if first > steps:
            raise WrongCheckpoint(
                f"{task.name}: {steps} steps are asked for, {checkpoints.directory} has {first} already: "
                f"ask for at least as many, or begin again in another workdir"
            )
        passed = max(position["passed"], skip_batches)
        if passed > position["passed"]:
            batches.skip(passed - position["passed"])
        frozen = jax.device_put(task.frozen, replicated(mesh))
        train_step, key, meter = compiled_step(task, mesh), root_key(seed), Meter(position["window"])

        def save(step: int, results: dict[str, float]) -> None:
            meter.finish()
            _check_finite(state, step)
            where = {"input": batches.get_state(), "window": meter.sums(), "passed": passed}
            checkpoints.save(step, state, where, results)

        active = jax.process_index() == 0
        with (
            _naming(task, checkpoints, passed),
            RunLog(workdir, step=first, steps=steps, active=active) as log,
            profiling.Tracing(profile, workdir / EVENTS, active=active, say=log.say) as trace,
        ):
            if first:
                log.say(f"{task.name}: resumed after step {first}")

            def leave(step: int) -> NoReturn:
                checkpoints.wait()
                log.say(f"{task.name}: told to stop; step {step} is saved, the same command goes on from there")
                raise Preempted(step)

            for step in range(first, steps):
                if stop.reached(step):
                    if step > (checkpoints.latest() or 0):
                        save(step, {})
                    leave(step)
                if trace.due(step):
                    meter.finish()
                    with meter.paused():
                        trace.switch(step)
                with jax.profiler.StepTraceAnnotation(task.name, step_num=step):
                    with meter.waiting():
                        local = _next(batches, step)
                    batch = place_batch(local, mesh)
                    skipped = batch.pop(SKIPPED, None)
                    state, metrics = train_step(state, frozen, batch, key, np.uint32(step))
                if skipped is not None:
                    metrics = {**metrics, SKIPPED: _count(skipped)}
                done, last = step + 1, step + 1 == steps
                meter.add(done, metrics, images=jax.tree.leaves(batch)[0].shape[0])
                log.tick()
                if done % log_every == 0 or last:
                    means, rate = meter.row(), meter.rate()
                    log.row(done, means, rate.images, rate.steps, *peers.hungriest(rate.input_wait))
                with meter.paused():
                    if task.picture and picture_every and (done % picture_every == 0 or last):
                        examples = first_examples(batch, picture_examples, mesh)
                        log.picture(done, task.name, np.asarray(task.picture(state, frozen, examples)))
                    if done % checkpoint_every == 0 or last:
                        meter.finish()
                        with jax.set_mesh(mesh):
                            results = dict(task.evaluate(state, frozen)) if task.evaluate else {}
                        log.results(done, results)
                        save(done, results)
            checkpoints.wait()
            if stop.asked:  # too late to be reached: what comes after the training must not begin
                leave(max(first, steps))
    return state


def _begin(task: Task, batches: Batches, checkpoints: Checkpoints, seed: int, mesh: Mesh) -> tuple[PyTree, PyTree, int]:
    """(state, position, finished steps) of the latest checkpoint, the input set to it; or of a new run.

    The position has the meter's sums as 'window', and the batches that were passed over as 'passed'.
    """
    new = {"window": None, "passed": 0}
    if checkpoints.latest() is None:
        return init_state(task, seed, mesh), new, 0
    state, position, step = checkpoints.restore(abstract_state(task, seed, mesh))
    batches.set_state(position["input"])
    return state, {**new, **position}, step


def _next(batches: Batches, step: int) -> PyTree:
    try:
        return next(batches)
    except StopIteration:
        raise RuntimeError(f"the input ended after {step} steps: training needs one that repeats without end") from None


@jax.jit
def _count(flags: jax.Array) -> jax.Array:
    """How many are set, on all devices of all processes."""
    return jnp.sum(flags, dtype=jnp.int32)


@jax.jit
def _all_finite(state: PyTree) -> jax.Array:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats])) if floats else jnp.asarray(True)


def _check_finite(state: PyTree, step: int) -> None:
    """A step can have finite losses and leave parameters that are not: such a state is never saved."""
    if not _all_finite(state):
        raise NonFiniteError(f"the state is not finite after step {step}", step)


@contextlib.contextmanager
def _naming(task: Task, checkpoints: Checkpoints, passed: int) -> Iterator[None]:
    """Adds to a NonFiniteError what there is to go on from, and how."""
    try:
        yield
    except NonFiniteError as error:
        checkpoints.wait()
        step = checkpoints.latest()
        good = (
            f"the last good checkpoint is {checkpoints.directory}/{step}" if step else "no checkpoint was saved before"
        )
        skip = passed + error.step - (step or 0)
        raise NonFiniteError(
            f"{task.name}: {error}; {good}. The same command would meet the same step again: pass over the batches up to it "
            f"with --config.{task.name}.resume_skip_batches={skip}, lower the learning rates or change the seed",
            error.step,
        ) from None
