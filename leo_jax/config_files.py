"""Finding config files that a command names, and reading its flags."""

import os
import pathlib
import re
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


def parsed_or_exit(arguments: Sequence[str]) -> list[str]:
    """Sets the flags; what is wrong with them or with the config's file becomes one line."""
    from absl import flags

    try:
        return flags.FLAGS(arguments)
    except (flags.Error, AttributeError) as error:
        if os.environ.get("LEO_TRACEBACK"):
            raise
        if isinstance(error, AttributeError):
            if isinstance(error.args[0], KeyError):  # ConfigDict's, of a field it lacks
                field = " ".join(str(error.args[0].args[0]).split())
                field = re.sub(r'Key "(\w+)" does not exist .*?(?=Did you mean|$)', r"'\1' ", field)  # lists all fields
                sys.exit(f"error: the config has no field {field}")
            sys.exit(f"error: the config's file cannot be run: {error} (LEO_TRACEBACK=1 shows where)")
        said = str(error).strip().splitlines()
        sys.exit(f"error: {said[-1 if any('Traceback' in line for line in said) else 0]}")


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
