"""Training: `python -m leo_jax.main --config=configs/puppets.py --workdir=DIR [--stages=…] [--config.a.b=value …]`."""

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags
from ml_collections import config_flags

ROOT = pathlib.Path(__file__).parents[1]  # the repository, when the package runs from it
DEFAULT = "configs/puppets.py"

# No default here: it would be loaded at import, before `with_config_found` has made its own imports work.
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, f"Config file, with FILE:STRING for its variants. [{DEFAULT}]"
)
_WORKDIR: Any = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and pictures; a rerun goes on from there."
)
_STAGES: Any = flags.DEFINE_list("stages", None, "Run these of the config's stages only, e.g. --stages=motion,sample.")
_ANIMATOR: Any = flags.DEFINE_string(
    "animator", None, "Folder of a model (`leo convert lia`) whose animator is taken instead of training one."
)
_ACCEPT_CHANGES = flags.DEFINE_bool("accept_changes", False, "Go on with results of another config.")
flags.mark_flag_as_required("workdir")


def main(arguments: Sequence[str]) -> None:
    """Runs the config's stages in the workdir."""
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}: overrides look like --config.animator.steps=1000")
    import jax

    if several_processes(os.environ):
        jax.distributed.initialize()
    from leo_jax import experiment

    if jax.process_index() == 0:
        print(f"{jax.device_count()} {jax.devices()[0].device_kind} device(s), {jax.process_count()} process(es)")
    config = _CONFIG.value
    if _STAGES.value is not None:
        config.stages = tuple(_STAGES.value)
    if _ANIMATOR.value is not None:
        config.animator_from = _ANIMATOR.value
    try:
        folders = experiment.run(config, _WORKDIR.value, accept_changes=_ACCEPT_CHANGES.value)
    except experiment.ConfigError as error:
        sys.exit(f"error: {error}")
    if jax.process_index() == 0:
        for name, folder in folders.items():
            print(f"{name}: {folder} ({', '.join(sorted(path.name for path in folder.iterdir()))[:100]})")
        print(f"try it: leo animate --model {_WORKDIR.value} --source photo.jpg --driving clip.mp4 --out out.mp4")


def several_processes(environment: Mapping[str, str]) -> bool:
    """Whether the environment is one process of several that `jax.distributed.initialize()` can bring together.

    SLURM and Open MPI count their tasks, a TPU pod lists its hosts, an indexed Kubernetes job numbers its pods, and
    JAX_COORDINATOR_ADDRESS asks for it by hand.
    """
    tasks = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    hosts = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")
    return (
        "JAX_COORDINATOR_ADDRESS" in environment
        or ("SLURM_PROCID" in environment and int(environment.get(tasks[0], 1)) > 1)
        or int(environment.get(tasks[1], 1)) > 1
        or any("," in environment.get(name, "") for name in hosts)
        or {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environment.keys()
    )


def with_config_found(arguments: Sequence[str]) -> list[str]:
    """`arguments` with --config as a path that exists, and its imports (`from configs import common`) made to work.

    A relative path is looked for in the current folder, then in the repository the package runs from.
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
    if not pathlib.Path(file).exists() and (ROOT / file).exists():
        file = str(ROOT / file)
    arguments[place : place + 1 + separate] = [f"--config={file}{colon}{variant}"]
    parent = str(pathlib.Path(file).resolve().parents[1])
    if parent not in sys.path:
        sys.path.insert(0, parent)
    return arguments


def start(arguments: Sequence[str]) -> None:
    """Parses `arguments` (the program's name first) and runs; ends the process."""
    arguments = with_config_found(arguments)
    arguments.insert(1, "--verbosity=-1")  # warnings only: Orbax tells forty lines a checkpoint; a later one wins
    app.run(main, argv=arguments)


if __name__ == "__main__":
    start(sys.argv)
