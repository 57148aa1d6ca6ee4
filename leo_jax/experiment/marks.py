"""Which stages are finished, of what config and inputs; and what a change of either makes worthless.

A stage's folder holds config.json (the fields that decide its result, and the hashes of its inputs, from its start) and, when it
is finished, done.json (the hash of both, and the steps trained).
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import files
from leo_jax.data import manifest

CONFIG_FILE, DONE_FILE = "config.json", "done.json"
INPUTS = "inputs"  # in config.json, beside the sections

WHAT = {
    "data": "the data",
    "code_data": "the videos that codes are made of",
    "given": "the model of animator_from",
    "begun": "the model of start_from",
}

# Fields that a resumed run may change: how long, how often, from where; nothing that a step computes.
FREE = {
    "model": ("remat",),
    "data": ("dir", "name", "workers", "on_corrupt"),
    "animator": ("vgg19", "heldout_pairs"),
}
TRAINED = ("animator", "motion", "start", "transition", "first_frame")
FREE_IN_TRAINED = (
    *("steps", "falloff", "log_every", "picture_every", "checkpoint_every", "keep", "heldout", "remat", "accumulate"),
    *("resume_skip_batches", "start_from"),  # the model of start_from itself is an input
)


# Fields that sampling alone uses: a network that is trained to its end can still take them over.
SAMPLING = ("eta", "bound")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the whole run.

    Attributes:
        fields: sections of the config, or 'section.field', that decide its result.
        needs: stages, and others of WHAT, that it reads.
        check: raises ConfigError before anything is made.
        run: (config, folder, mesh) does the work, from where it was cut off.
        result: folder → hash of what it made, None when that is not there.
        trained: whether it is costly, with checkpoints to go on from; the others are made anew when something changed.
        uses: stages whose results it reads if they are there.
    """

    fields: tuple[str, ...]
    needs: tuple[str, ...]
    check: Callable[[ConfigDict], None]
    run: Callable[[ConfigDict, pathlib.Path, Mesh], None]
    result: Callable[[pathlib.Path], str | None]
    trained: bool = True
    uses: tuple[str, ...] = ()


def result_of(*hashed: str, last: str) -> Callable[[pathlib.Path], str | None]:
    """A stage's `result`: the hash of files in its folder, once all and the one that is written last are there."""

    def result(folder: pathlib.Path) -> str | None:
        if not all((folder / name).exists() for name in (*hashed, last)):
            return None
        found = [files.sha256(folder / name) for name in hashed]
        return found[0] if len(found) == 1 else _hash(found)

    return result


def fields_of(config: ConfigDict, stage: Stage) -> dict[str, Any]:
    """The part of the config that decides the stage's result, as plain nested values."""
    plain = json.loads(config.to_json())
    chosen: dict[str, Any] = {}
    for name in stage.fields:
        section, _, field = name.partition(".")
        if field and section in plain:
            chosen.setdefault(section, {})[field] = plain[section][field]
        elif section in plain:
            chosen[section] = plain[section]
    return {name: _resolved(value, plain) for name, value in chosen.items()}


def _resolved(value: Any, config: Mapping[str, Any]) -> Any:
    """A section as it is meant: a network's dtype that is left open is the model's."""
    left_open = isinstance(value, Mapping) and value.get("dtype") == ""
    return {**value, "dtype": config["model"]["dtype"]} if left_open else value


def has_begun(folder: pathlib.Path, stage: Stage) -> bool:
    """Whether there is something that a change could make worthless."""
    made = (folder / DONE_FILE).exists() or any((folder / "checkpoints").glob("[0-9]*"))
    return (folder / CONFIG_FILE).exists() and (made or stage.result(folder) is not None)


def changes(folder: pathlib.Path, stage: Stage, here: Mapping[str, Any], inputs: Mapping[str, str | None]) -> list[str]:
    """What differs between the folder's config and inputs and those given, a line each; nothing if it has not begun.

    Inputs that are not there, or that an old folder did not note, are not compared.
    """
    if not has_begun(folder, stage):
        return []
    there = json.loads((folder / CONFIG_FILE).read_text())
    noted = there.pop(INPUTS, None)
    found = differences(there, here)
    if noted is None:
        return found
    names = [name for name in {**noted, **inputs} if noted.get(name) != inputs.get(name)]
    names = [name for name in names if inputs.get(name, "") is not None and noted.get(name, "") is not None]
    return found + [_told(name, name in noted, name in inputs) for name in names]


def trained_steps(folder: pathlib.Path) -> int:
    """Steps of the stage's latest checkpoint, 0 if there is none."""
    return max((int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdigit()), default=0)


def finished_steps(folder: pathlib.Path) -> int | None:
    """Steps of a finished stage (0 where nothing is counted), None if it is not finished."""
    path = folder / DONE_FILE
    return json.loads(path.read_text())["steps"] if path.exists() else None


def is_finished(folder: pathlib.Path, stage: Stage, here: Mapping[str, Any], steps: int) -> bool:
    """Whether the stage is done, by its mark and its result; `changes` is asked before."""
    done = finished_steps(folder)
    if done is None or done < steps or stage.result(folder) is None:
        return False
    mark = json.loads((folder / DONE_FILE).read_text())
    return mark["config"] == _hash(_fixed(here))


def other_falloff(folder: pathlib.Path, name: str, here: Mapping[str, Any]) -> str:
    """What to tell of a finished network whose rate fell otherwise than is asked for now; nothing where that is the same."""
    there = json.loads((folder / CONFIG_FILE).read_text())
    old, new = (tree.get(name, {}).get("falloff", 0) if name in TRAINED else 0 for tree in (there, here))
    return "" if old == new else f" (falloff {old}; {new} is asked for)"


def begin(folder: pathlib.Path, here: Mapping[str, Any], inputs: Mapping[str, str | None]) -> None:
    """Notes what a stage is made of, and that it is not finished."""
    (folder / DONE_FILE).unlink(missing_ok=True)
    files.atomic_write(folder / CONFIG_FILE, json.dumps({**here, INPUTS: dict(inputs)}, indent=2) + "\n")


def finish(folder: pathlib.Path, here: Mapping[str, Any], inputs: Mapping[str, str | None], steps: int) -> None:
    """Marks the stage as finished."""
    mark = {"config": _hash(_fixed(here)), INPUTS: dict(inputs), "steps": steps}
    files.atomic_write(folder / DONE_FILE, json.dumps(mark, indent=2) + "\n")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """'animator.generator_lr: 0.002 there, 0.001 here' for each field that differs, free ones left out."""
    old, new = _fixed(there), _fixed(here)
    told = lambda values, name: json.dumps(values[name]) if name in values else "nothing"
    names = [name for name in {**old, **new} if told(old, name) != told(new, name)]
    return [f"{name}: {told(old, name)} there, {told(new, name)} here" for name in names]


def _told(name: str, noted: bool, here: bool) -> str:
    what = WHAT.get(name, f"the result of stage {name}")
    if noted and here:
        return f"{what}: another one there"
    return f"{what}: {'one there, none here' if noted else 'none there, one here'}"


def _fixed(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """'section.field' → value, of all that a resumed run may not change."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name in FREE.get(above, ()) or (above in TRAINED and name in FREE_IN_TRAINED):
            continue
        path = f"{above}.{name}" if above else name
        found |= _fixed(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def data_hash(directory: files.PathLike) -> str | None:
    """The hash of a prepared data set: of its shards' hashes, wherever it lies. None where there is none."""
    found = manifest.load(directory) if directory else None
    if found is None:
        return None
    return _hash([[name, [shard.sha256 for shard in split.shards]] for name, split in found.splits.items()])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
