"""Trees of named arrays as .npz files: how finished models are kept and shipped. Nothing in them is ever executed."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from leo_jax import files

MODEL_FILE = "model.json"
FORMAT = "leo_jax model"


def save_tree(path: files.PathLike, tree: Mapping[str, Any]) -> None:
    """Writes a nested mapping of arrays to `path` (.npz), names joined by '/', whole or not at all."""
    flat: dict[str, Any] = {
        name: np.asarray(value) for name, value in traverse_util.flatten_dict(tree, sep="/").items()
    }
    with files.atomic_path(path) as temporary:
        np.savez(temporary, **flat)


def load_tree(path: files.PathLike) -> dict[str, Any]:
    """Reads what `save_tree` wrote. Raises ValueError, naming the file, on anything else; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            flat = {name: file[name] for name in file.files}
    except files.NO_ARRAYS as error:
        why = (
            "it holds no plain arrays" if "allow_pickle" in str(error) else error
        )  # NumPy would suggest to unpickle it
        raise ValueError(f"{path} is not a readable .npz of arrays ({why}): write it again") from error
    return traverse_util.unflatten_dict(flat, sep="/")


def check_tree(tree: Mapping[str, Any], expected: Mapping[str, Any], *, what: str, most: int = 8) -> None:
    """Raises ValueError unless both trees hold the same names and shapes, listing the first `most` that do not fit."""
    got = {k: tuple(np.shape(v)) for k, v in traverse_util.flatten_dict(tree, sep="/").items()}
    want = {k: tuple(v.shape) for k, v in traverse_util.flatten_dict(expected, sep="/").items()}
    problems = [f"{k}: missing, shape {want[k]} expected" for k in want if k not in got]
    problems += [f"{k}: unknown, shape {got[k]}" for k in got if k not in want]
    problems += [f"{k}: shape {got[k]}, {want[k]} expected" for k in want if k in got and got[k] != want[k]]
    if problems:
        more = f"\n  … and {len(problems) - most} more" if len(problems) > most else ""
        raise ValueError(f"{what}: {len(problems)} names do not fit:\n  " + "\n  ".join(problems[:most]) + more)


def shapes_of(module: nn.Module, *inputs: jax.ShapeDtypeStruct) -> Any:
    """The module's parameter shapes, without computing anything."""
    return jax.eval_shape(module.init, jax.eval_shape(lambda: jax.random.key(0)), *inputs)["params"]


def load_frozen(
    path: files.PathLike | None, expected: Mapping[str, Any], *, kind: str, network: str, where: str
) -> dict[str, Any]:
    """Converted weights of a network that is never trained, checked against `expected` shapes.

    Args:
        path: the .npz; None if the user named none.
        expected: tree of shapes.
        kind: what the weights are for, and
        network: whose they are, for the errors.
        where: how to get them.

    Raises:
        FileNotFoundError: there is no such file, or none was named; says where to get one.
        ValueError: the file holds something else.
    """
    if path is None:
        raise FileNotFoundError(where)
    try:
        params = load_tree(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {kind} weights at {path}. {where}") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} holds no converted {kind} weights ({error}). {where}") from error
    check_tree(params, expected, what=f"{path} as {network}")
    return params


def save_model(
    directory: files.PathLike,
    description: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
    *,
    without: Iterable[str] = (),
) -> None:
    """Writes a model directory: `<part>.npz` for each part, then model.json, whose presence says that it is whole.

    Of an older model there, model.json goes first, and the parts `without` go; other files stay.
    """
    directory = pathlib.Path(directory)
    (directory / MODEL_FILE).unlink(missing_ok=True)
    for name in without:
        (directory / f"{name}.npz").unlink(missing_ok=True)
    for name, tree in parts.items():
        save_tree(directory / f"{name}.npz", tree)
    files.atomic_write(directory / MODEL_FILE, json.dumps({"format": FORMAT, **description}, indent=2) + "\n")


def load_description(directory: files.PathLike) -> dict[str, Any]:
    """The content of a model directory's model.json; raises ValueError if it is none of ours."""
    path = pathlib.Path(directory) / MODEL_FILE
    description = json.loads(path.read_text())
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a leo_jax model: make one with `leo convert lia` or `leo train`")
    return description
