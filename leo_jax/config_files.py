"""Finding config files that a command names."""

import pathlib
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[1]  # the repository, when the package runs from it
DEFAULT = "configs/puppets.py"


def found_or_exit(arguments: Sequence[str]) -> list[str]:
    """As `with_config_found`, for commands: a config that is not there ends the process with one line."""
    try:
        return with_config_found(arguments)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")


def with_config_found(arguments: Sequence[str]) -> list[str]:
    """`arguments` with --config as a path that exists, and its imports (`from configs import common`) made to work.

    A relative path is looked for in the current folder, then in the repository the package runs from. Raises
    FileNotFoundError if it is in neither.
    """
    arguments = list(arguments)
    names = [a.split("=")[0].lstrip("-") for a in arguments]
    if "config" not in names:
        arguments.insert(1, f"--config={DEFAULT}")  # before its overrides
        names.insert(1, "config")
    place = names.index("config")
    separate = "=" not in arguments[place] and place + 1 < len(arguments)  # --config FILE
    value = arguments[place + 1] if separate else arguments[place].partition("=")[2]
    file, colon, variant = value.partition(":")
    if not pathlib.Path(file).is_file():
        if not (ROOT / file).is_file():
            raise FileNotFoundError(f"no config at {file}: give a file such as --config={DEFAULT}")
        file = str(ROOT / file)
    arguments[place : place + 1 + separate] = [f"--config={file}{colon}{variant}"]
    parent = str(pathlib.Path(file).resolve().parents[1])
    if parent not in sys.path:
        sys.path.insert(0, parent)
    return arguments
