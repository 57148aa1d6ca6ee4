"""The whole run: stages in order, each in its folder of the workdir; what is finished is skipped, what was cut off goes on."""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence

from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import api, denoisers, files, run_report
from leo_jax.checkpoints import WrongCheckpoint
from leo_jax.data import manifest
from leo_jax.data import verify as verifying
from leo_jax.experiment import animator, codes, evaluation, marks, samples
from leo_jax.experiment import denoisers as denoising
from leo_jax.experiment.marks import Stage
from leo_jax.experiment.settings import (
    ConfigError,
    alone,
    check_data,
    check_shared,
    code_data,
    draw_puppets,
    mesh_of,
    profile_of,
    say,
    speaks,
    together,
)
from leo_jax.training.logging import PICTURES

PREPARE = "prepare"  # draws puppets, and has no folder of its own
SHOWN = 12  # differing fields listed

MODELS = ("given", "begun")  # inputs that a stage only begins with

WAYS_OUT = (
    f"set it back (all is in {marks.CONFIG_FILE} there), choose another --workdir, delete the folders of these stages to make "
    "them anew, or go on nevertheless with --accept_changes (networks train on from their checkpoints, codes and samples are "
    "made anew)"
)

# Hashes of what a stage (the second argument) reads that is no stage's result.
DATA: Mapping[str, Callable[[ConfigDict, str], str | None]] = {
    "data": lambda config, _: marks.data_hash(config.data.dir),
    "code_data": lambda config, _: marks.data_hash(code_data(config)),
    "given": lambda config, _: _given_hash(config.animator_from, "animator"),
    "begun": lambda config, name: _given_hash(config[name].start_from, name),
}


def stages_of(config: ConfigDict) -> dict[str, Stage]:
    """All stages that have a folder, in the order in which they can run."""
    trained = {name: denoising.stage(config, name) for name in denoisers.KINDS}
    last = {"sample": samples.stage(config), "evaluate": evaluation.stage(config)}
    return {"animator": animator.stage(config), "codes": codes.stage(config), **trained, **last}


def run(
    config: ConfigDict, workdir: files.PathLike, *, accept_changes: bool = False, verify: bool = False
) -> dict[str, pathlib.Path]:
    """Runs `config.stages` in `workdir` and returns each one's folder.

    Args:
        config: as `configs/*.py` make it.
        workdir: the run's folder.
        accept_changes: train networks on from checkpoints of another config or other inputs, and make codes and samples
            anew, which is an error otherwise.
        verify: read all data and codes and check them before anything else is done.

    Raises:
        ConfigError: the config is impossible, the workdir holds results of another one or cannot be written, data are damaged
            as far as that can be seen, or a stage that is needed is missing.
        Whatever `training.loop.fit` raises.
    """
    try:
        files.check_local(workdir, "take a --workdir on a file system that all hosts share (docs/launching.md)")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    workdir, stages = pathlib.Path(workdir), stages_of(config)
    unknown = [name for name in config.stages if name not in (PREPARE, *stages)]
    if unknown or not config.stages:
        raise ConfigError(f"config.stages = {tuple(config.stages)}: name some of {(PREPARE, *stages)}")
    selected = [name for name in stages if name in config.stages]  # in their own order, whatever the config's
    for name in selected:
        if not outlives(config, workdir, stages, name):
            stages[name].check(config)
    check_data(config)
    profile_of(config)
    if config.data.on_corrupt not in ("raise", "skip"):
        raise ConfigError(f"data.on_corrupt = {config.data.on_corrupt!r}: 'raise' or 'skip'")
    mesh = mesh_of(config)
    check_workdir(config, workdir, stages, selected, accept_changes=accept_changes)
    check_files(config, workdir)
    check_shared(workdir)
    if verify:
        verify_files(config, workdir)
    drawn = lambda: [marks.data_hash(folder) for folder in (config.data.dir, code_data(config))]
    there = drawn()
    draw_puppets(
        config, DATA if PREPARE in config.stages else {need for name in selected for need in stages[name].needs}
    )
    if drawn() != there:  # what was absent could not be compared
        check_workdir(config, workdir, stages, selected, accept_changes=accept_changes)
    for name in selected:
        run_stage(config, workdir, stages, name, mesh, accept_changes=accept_changes)
    if speaks():
        files.remove_leftovers(workdir)
        with contextlib.suppress(FileNotFoundError):  # codes alone leave nothing to show
            say(f"report: {run_report.write(workdir, list(stages))}")
    return {name: workdir / name for name in selected}


def inputs_of(
    config: ConfigDict, stages: Mapping[str, Stage], name: str, workdir: pathlib.Path
) -> dict[str, str | None]:
    """Hashes of what the stage reads, as it lies there now; None for what is needed and not there."""
    stage = stages[name]
    found = {
        need: DATA[need](config, name) if need in DATA else stages[need].result(workdir / need) for need in stage.needs
    }
    used = {name: stages[name].result(workdir / name) for name in stage.uses}
    return found | {name: value for name, value in used.items() if value is not None}


def outlives(config: ConfigDict, workdir: pathlib.Path, stages: Mapping[str, Stage], name: str) -> bool:
    """Whether the stage is finished and the model that it began with is gone, which it does not need any more."""
    stage = stages[name]
    gone = any(DATA[need](config, name) is None for need in stage.needs if need in MODELS)
    here = marks.fields_of(config, stage)
    return gone and marks.is_finished(workdir / name, stage, here, steps_of(config, name))


def steps_of(config: ConfigDict, name: str) -> int:
    """Steps that the stage is to train; 0 for those that train nothing."""
    given = name == "animator" and config.animator_from
    return 0 if given or name not in marks.TRAINED else int(config[name].steps)


def check_workdir(
    config: ConfigDict,
    workdir: pathlib.Path,
    stages: Mapping[str, Stage],
    selected: Sequence[str],
    *,
    accept_changes: bool,
) -> None:
    """Compares all that lies in `workdir` with the config before anything is done.

    Raises:
        ConfigError: a trained stage that is selected, or that a selected one reads, is of another config or of inputs that
            are or will be others; says which fields, and what else that makes worthless.
    """
    changed: dict[str, list[str]] = {}  # what differs, by stage
    lost: set[str] = set()  # stages whose results the changes make worthless
    longer: set[str] = set()  # stages that are trained further
    for name, stage in stages.items():
        folder, here = workdir / name, marks.fields_of(config, stage)
        found = marks.changes(folder, stage, here, inputs_of(config, stages, name, workdir))
        done = marks.finished_steps(folder)
        begun = marks.has_begun(folder, stage)
        if begun:
            again = [need for need in stage.needs if need in lost | longer and need in selected]
            found += [f"the result of stage {need}: will be another one" for need in again]
        elif name in selected and stage.result(folder) is not None:
            raise ConfigError(
                f"{folder} holds a model that was not trained there: take it with --animator={folder} and another --workdir, "
                f"or leave {name} out of --stages"
            )
        if found:
            changed[name] = found
        if found or (begun and (lost | longer) & {*stage.needs, *stage.uses}):
            lost.add(name)
        elif name in selected and done is not None and done < steps_of(config, name):
            longer.add(name)
    involved = _with_needs(stages, selected)
    wrong = [name for name in changed if name in involved and stages[name].trained]
    stale = [name for name in changed if name in involved and not stages[name].trained and name not in selected]
    lines = [_differing(workdir / name, changed[name]) for name in wrong or stale]
    worthless = [name for name in stages if name in lost and name not in wrong]
    lines += [f"{', '.join(worthless)}: would be worthless"] if wrong and worthless else []
    if not lines:
        return
    if accept_changes:
        for name in wrong:
            _check_some_left(workdir / name, name, changed[name], steps_of(config, name) if name in selected else 0)
        say("\n".join([*lines, "--accept_changes: going on nevertheless"]))
        return
    way = WAYS_OUT if wrong else f"what is to run reads them, so add --stages={','.join([*stale, *selected])}"
    raise ConfigError("\n".join([*lines, way]))


def _check_some_left(folder: pathlib.Path, name: str, found: Sequence[str], steps: int) -> None:
    """Raises ConfigError if a network that is to train on by another config, or other inputs, has no steps left for that."""
    learnt = [line for line in found if not line.startswith(tuple(f"{name}.{field}: " for field in marks.SAMPLING))]
    done = marks.trained_steps(folder)
    if learnt and 0 < steps <= done:
        raise ConfigError(
            f"{_differing(folder, learnt)}\nand its {done} steps are done, so that it would learn nothing of this: ask for more "
            f"(--config.{name}.steps={2 * done}), or delete the folder to train it anew"
        )


def check_files(config: ConfigDict, workdir: pathlib.Path) -> None:
    """What lies on disk, before anything is done: the workdir can be written, data and codes are whole.

    Raises:
        ConfigError: they are not, by their indices, sizes and counts, which are compared with the manifest.
    """
    folders = _data_folders(config, workdir)
    try:
        if speaks():
            files.check_folder(workdir)
        for folder in folders:
            verifying.check_quickly(folder)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error


def verify_files(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Reads all bytes of data and codes in the first process, while the others wait; raises ConfigError if any is damaged."""

    def verify() -> None:
        for folder in _data_folders(config, workdir):
            if manifest.load(folder) is not None:
                if problems := verifying.verify(folder):
                    raise ConfigError("\n".join(problems))
                say(f"{folder}: verified")

    alone(verify)
    together("data are verified")


def _data_folders(config: ConfigDict, workdir: pathlib.Path) -> list[files.PathLike]:
    return [folder for folder in dict.fromkeys((config.data.dir, code_data(config), workdir / "codes")) if folder]


def _differing(folder: pathlib.Path, found: Sequence[str]) -> str:
    more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{folder} holds results of another config:\n  " + "\n  ".join(found[:SHOWN]) + more


def run_stage(
    config: ConfigDict,
    workdir: pathlib.Path,
    stages: Mapping[str, Stage],
    name: str,
    mesh: Mesh,
    *,
    accept_changes: bool,
) -> None:
    """Runs one stage unless it is finished, and marks it.

    Raises:
        ConfigError: what it reads is not there, or has changed since it began.
    """
    stage, folder = stages[name], workdir / name
    here, inputs, steps = (
        marks.fields_of(config, stage),
        inputs_of(config, stages, name, workdir),
        steps_of(config, name),
    )
    finished = marks.is_finished(folder, stage, here, steps)
    missing = [need for need, value in inputs.items() if value is None and not (finished and need in MODELS)]
    if missing:
        raise ConfigError(
            f"stage {name} reads {', '.join(marks.WHAT.get(need, need) for need in missing)}, which {workdir} does not have: "
            f"run --stages={','.join([*(need for need in missing if need in stages), name])}"
        )
    changed = marks.changes(folder, stage, here, inputs)
    if changed and stage.trained and not accept_changes:
        raise ConfigError(f"{_differing(folder, changed)}\n{WAYS_OUT}")
    together(f"{name} is looked at")  # before anything there changes
    if finished and not changed:
        more = "" if (done := marks.finished_steps(folder) or 0) <= steps else f" ({done} steps; {steps} are asked for)"
        say(f"{name}: finished before{more}{marks.other_falloff(folder, name, here)}, {folder}")
        return
    if speaks():
        for place in (folder, folder / PICTURES):
            files.remove_leftovers(place)
        if changed and not stage.trained:
            say(f"{name}: made anew, for\n  " + "\n  ".join(changed))
            files.remove_folder(folder)
        marks.begin(folder, here, inputs)
    say(f"{name}: {folder}")
    together(f"{name} begins")
    try:
        stage.run(config, folder, mesh)
    except WrongCheckpoint as error:
        raise ConfigError(str(error)) from error
    together(f"{name} ends")
    if speaks():
        marks.finish(folder, here, inputs, max(steps, 0))
    together(f"{name} is marked")


def _given_hash(directory: str, name: str) -> str | None:
    try:
        folder = api.find(directory) if name == "animator" else api.find_root(directory) / name
        return files.sha256(folder / f"{name}.npz")
    except FileNotFoundError:
        return None


def _with_needs(stages: Mapping[str, Stage], selected: Sequence[str]) -> set[str]:
    """The selected stages and all whose results they read, directly or not."""
    found: set[str] = set()
    waiting = list(selected)
    while waiting:
        name = waiting.pop()
        if name in stages and name not in found:
            found.add(name)
            waiting += [*stages[name].needs, *stages[name].uses]
    return found
