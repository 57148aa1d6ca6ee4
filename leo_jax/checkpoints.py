"""Checkpoints: the training state and the input's position, written together by Orbax.

A checkpoint `DIR/<step>` holds `state` (arrays only) and `data` (JSON: where the input stood after the step's batch).
Orbax writes it beside its final name and renames it, so a step that is listed is whole; a process that was killed while
writing leaves a `*.orbax-checkpoint-tmp` folder, which the next writer removes.
"""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

PyTree = Any
PathLike = str | os.PathLike[str]

STATE, DATA = "state", "data"
SHOWN = 5  # names listed when a checkpoint does not fit


class CheckpointError(OSError):
    """A checkpoint could not be written, or is damaged; those before are whole."""


class WrongCheckpoint(ValueError):
    """A checkpoint that is whole, and not one to go on from: of another model, or of a later step than is asked for."""


class Restored(NamedTuple):
    """What a checkpoint held: the arrays, the input's position, and the number of finished steps."""

    state: PyTree
    position: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run, in one folder. Every process of a multi-process run must make the same calls.

    Args:
        directory: where they are; made when missing. Local, or any path that epath knows (`gs://…`).
        keep_last: how many of the latest are kept.
        best_metric: name of the metric by which one more, the best so far, is kept; None keeps the latest only.
        best_mode: "min" or "max".
        read_only: only read; nothing is made or cleaned up.
    """

    def __init__(
        self,
        directory: PathLike,
        *,
        keep_last: int = 2,
        best_metric: str | None = None,
        best_mode: str = "min",
        read_only: bool = False,
    ):
        if keep_last < 1:
            raise ValueError(
                f"keep_last is {keep_last}: keep at least the latest checkpoint (1), or nothing can resume"
            )
        if best_mode not in ("min", "max"):
            raise ValueError(f"best_mode is {best_mode!r}: 'min' or 'max'")
        self.directory = _absolute(directory)
        self._best_metric = best_metric
        self._most = keep_last + (best_metric is not None)  # that are kept
        self._worst = math.inf if best_mode == "min" else -math.inf  # a checkpoint that was not measured
        policies: list[Any] = [preservation_policy.LatestN(keep_last)]
        if best_metric is not None:
            policies.append(
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    reverse=best_mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        if read_only and not epath.Path(self.directory).exists():
            raise FileNotFoundError(f"{self.directory} does not exist: no run has saved checkpoints there")
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_handlers={STATE: ocp.StandardCheckpointHandler(), DATA: ocp.JsonCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
                best_fn=None if best_metric is None else (lambda metrics: metrics[best_metric]),
                best_mode=best_mode,
                cleanup_tmp_directories=not read_only,
                create=not read_only,
            ),
        )

    def save(
        self, step: int, state: PyTree, position: Mapping[str, Any], metrics: Mapping[str, float] | None = None
    ) -> None:
        """Starts to write `state` and `position` as step `step`, and returns once the arrays have been copied.

        Of `metrics` only `best_metric` is kept. An earlier write is awaited first, and its failure raised here.

        Raises:
            CheckpointError: this or the earlier one could not be written.
        """
        with self._writing(step):
            self._save(step, state, position, metrics)

    def _save(self, step: int, state: PyTree, position: Mapping[str, Any], metrics: Mapping[str, float] | None) -> None:
        kept = None
        if self._best_metric is not None:
            value = float((metrics or {}).get(self._best_metric, math.nan))
            kept = {self._best_metric: value if math.isfinite(value) else self._worst}
        args = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state), DATA: ocp.args.JsonSave(dict(position))})
        self._manager.save(step, args=args, metrics=kept, force=True)

    def restore(self, abstract_state: PyTree, step: int | None = None) -> Restored:
        """The checkpoint of `step` (the latest when None), its arrays placed as `abstract_state`'s shardings say.

        Args:
            abstract_state: tree of `jax.ShapeDtypeStruct`, with shardings where the arrays are to be sharded.
            step: number of finished steps.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            WrongCheckpoint: the arrays' names, shapes or types are not `abstract_state`'s; the first ones are listed.
            CheckpointError: the checkpoint is damaged.
        """
        step = self._existing(step)
        _check_same_arrays(f"{self.directory}/{step}", self._arrays(step), abstract_state)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract_state), DATA: ocp.args.JsonRestore()})
        with self._reading(step):
            restored = self._manager.restore(step, args=args)
            return Restored(restored[STATE], dict(restored[DATA]), step)

    def restore_part(self, abstract_part: PyTree, step: int | None = None) -> PyTree:
        """Only the arrays named in `abstract_part`, a dict with some branches of the saved state (say, the parameters).

        They are jax arrays where `abstract_part` has shardings, numpy ones elsewhere.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            WrongCheckpoint: an array of `abstract_part` is not in the checkpoint or has another shape or type.
            CheckpointError: the checkpoint is damaged.
        """
        step = self._existing(step)
        _check_same_arrays(f"{self.directory}/{step}", self._arrays(step), abstract_part, partly=True)
        args = ocp.args.PyTreeRestore(
            abstract_part,
            restore_args=ocp.checkpoint_utils.construct_restore_args(abstract_part),
            partial_restore=True,
        )
        handlers = {STATE: ocp.PyTreeCheckpointHandler()}  # the standard handler reads all or nothing
        options = ocp.CheckpointManagerOptions(create=False)
        manager = ocp.CheckpointManager(self.directory, item_handlers=handlers, options=options)
        with manager as reader, self._reading(step):
            return reader.restore(step, args=ocp.args.Composite(**{STATE: args}))[STATE]

    def latest(self) -> int | None:
        """Step of the latest checkpoint; None when there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best checkpoint by `best_metric`; None when none carries that metric."""
        self.wait()
        step = self._manager.best_step() if self._best_metric else None
        return step if step is not None and math.isfinite(self._manager.metrics(step)[self._best_metric]) else None

    def steps(self) -> list[int]:
        """Steps of all kept checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def wait(self) -> None:
        """Returns when everything is on disk. Raises CheckpointError if a write in the background failed."""
        with self._writing(None):
            self._manager.wait_until_finished()

    def check_room(self, abstract_state: PyTree) -> None:
        """Raises CheckpointError if the disk has no room for the checkpoints that are to be kept and the one being written.

        Nothing is known, and nothing raised, of remote folders.
        """
        if "://" in self.directory:
            return
        size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(abstract_state))
        missing = max(self._most + 1 - len(self.steps()), 1)
        free = shutil.disk_usage(self.directory).free
        if free < missing * size:
            raise CheckpointError(
                f"{self.directory} has {free / 1e6:.0f} MB free, and {missing} more checkpoints of {size / 1e6:.0f} MB are to "
                "lie there: make room, keep fewer (`keep`), or choose another workdir"
            )

    def close(self) -> None:
        """Waits and lets go of threads."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.wait()
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            self.close()

    @contextlib.contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        """Turns whatever the libraries below say of a failed write into CheckpointError."""
        try:
            yield
        except Exception as error:
            whole = sorted(int(path.name) for path in epath.Path(self.directory).iterdir() if path.name.isdigit())
            left = f"the last whole one is {whole[-1]}" if whole else "there is no other one"
            what = f"checkpoint {step}" if step is not None else "a checkpoint"
            raise CheckpointError(
                f"{what} could not be written to {self.directory} ({_first_line(error)}); {left}, and the same command goes on "
                "from there: make room, or see that the folder can be written"
            ) from error

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Says which checkpoint it is that the libraries below cannot read, and what there is instead."""
        try:
            yield
        except (ValueError, KeyError, TypeError, OSError) as error:
            before = [other for other in self.steps() if other < step]
            left = f"goes on from {before[-1]}" if before else "begins anew"
            raise CheckpointError(
                f"{self.directory}/{step} cannot be read ({_first_line(error)}): if it is damaged, delete it, and the same "
                f"command {left}"
            ) from error

    def _arrays(self, step: int) -> PyTree:
        """What stands in a checkpoint about its arrays."""
        with self._reading(step):
            saved = self._manager.item_metadata(step)[STATE]
            if saved is None:
                raise ValueError("nothing there says which arrays it holds")
            return saved

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(f"{self.directory} holds no checkpoint")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise FileNotFoundError(f"{self.directory} holds no checkpoint of step {step}, only of {steps}")
        return step


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _absolute(directory: PathLike) -> str:
    """Orbax wants absolute paths; addresses such as gs://bucket are so already."""
    text = os.fspath(directory)
    return text if "://" in text else os.path.abspath(text)


def _check_same_arrays(where: str, saved: PyTree, wanted: PyTree, *, partly: bool = False) -> None:
    """Raises WrongCheckpoint with the first differences between two trees of things that have a shape and a dtype."""
    have, want = _described(saved), _described(wanted)
    wrong = [
        f"{name}: {have[name]} there, {want[name]} here" for name in want if name in have and have[name] != want[name]
    ]
    wrong += [f"{name}: not there" for name in want if name not in have]
    if not partly:
        wrong += [f"{name}: only there" for name in have if name not in want]
    if wrong:
        more = f"\n  … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WrongCheckpoint(
            f"the checkpoint {where} is of another model ({len(wrong)} of {len(want)} arrays do not fit):\n  "
            + "\n  ".join(wrong[:SHOWN])
            + more
            + "\nuse the config it was trained with (config.json beside it), or a new workdir"
        )


def _described(tree: PyTree) -> dict[str, str]:
    """Name → 'float32[3, 4]'. Names are joined keys, so that a tuple restored as a list compares equal."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        "/".join(str(_key(part)) for part in path): f"{jax.numpy.dtype(leaf.dtype).name}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _key(part: Any) -> Any:
    """The bare name or number in one step of a tree path."""
    for field in ("key", "name", "idx"):
        if hasattr(part, field):
            return getattr(part, field)
    return part
