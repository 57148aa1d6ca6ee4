"""Training: `python -m leo_jax.main --config=configs/puppets.py --workdir=DIR [--stages=…] [--config.a.b=value …]`."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from leo_jax import cpu, peers, processes
from leo_jax.config_files import DEFAULT, found_or_exit, parsed_or_exit

PATIENCE = 900  # seconds in which all processes have to be there: hosts fetch images and install at their own pace

# No default here: it would be loaded at import, before `found_or_exit` has made its own imports work.
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, f"Config file, with FILE:STRING for its variants. [{DEFAULT}]"
)
_WORKDIR: Any = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and pictures; a rerun goes on from there."
)
_PROFILE = flags.DEFINE_string("profile", "", "START:STOP, steps of each stage to trace for TensorBoard's profiler.")
_STAGES: Any = flags.DEFINE_list("stages", None, "Run these of the config's stages only, e.g. --stages=motion,sample.")
_ANIMATOR: Any = flags.DEFINE_string(
    "animator", None, "Folder of a model (`leo convert lia`) whose animator is taken instead of training one."
)
_ACCEPT_CHANGES = flags.DEFINE_bool("accept_changes", False, "Go on with results of another config.")
_VERIFY = flags.DEFINE_bool("verify", False, "Read all data and check every checksum before anything else is done.")
flags.mark_flag_as_required("workdir")


def main(arguments: Sequence[str]) -> None:
    """Runs the config's stages in the workdir."""
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}: overrides look like --config.animator.steps=1000")
    with join_others():
        train()


def train() -> None:
    """Runs the stages, as the flags say."""
    import jax

    from leo_jax import experiment
    from leo_jax.data.tfrecord import DamagedRecord
    from leo_jax.training.meter import NonFiniteError

    if jax.process_index() == 0:
        print(f"{jax.device_count()} {jax.devices()[0].device_kind} device(s), {jax.process_count()} process(es)")
    config = _CONFIG.value
    if _STAGES.value is not None:
        config.stages = tuple(_STAGES.value)
    if _ANIMATOR.value is not None:
        config.animator_from = _ANIMATOR.value
    if _PROFILE.value:
        config.profile = _PROFILE.value
    try:
        options = {"accept_changes": _ACCEPT_CHANGES.value, "verify": _VERIFY.value}
        folders = experiment.run(config, _WORKDIR.value, **options)
    except (experiment.ConfigError, DamagedRecord, OSError, NonFiniteError) as error:
        if os.environ.get("LEO_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
    if jax.process_index() == 0:
        for name, folder in folders.items():
            print(f"{name}: {folder} ({', '.join(sorted(path.name for path in folder.iterdir()))[:100]})")
        print(f"try it: leo animate --model {_WORKDIR.value} --source photo.jpg --driving clip.mp4 --out out.mp4")


def join_others() -> contextlib.AbstractContextManager[Any]:
    """Brings the processes of the run together, if there are several; ends this one if they cannot meet.

    What the process does in the run belongs inside the context given (`leo_jax.peers.Peers`).
    """
    import jax

    try:
        processes.preempted_exit(os.environ)  # a wrong one is better known now than when the run is told to stop
        patience = processes.dead_after(os.environ)
        arguments = processes.joining(os.environ, tpu_hosts=lambda: processes.cloud_tpu_hosts(os.environ))
    except processes.ProcessesError as error:
        sys.exit(f"error: {error}")
    if arguments is not None:
        jax.config.update("jax_enable_preemption_service", False)  # `peers` takes the signals
        # JAX's own watch is a last resort, for processes whose Python stands still; it must not come before the other's words.
        silence = round(2 * patience) + 30
        jax.distributed.initialize(**arguments, initialization_timeout=PATIENCE, heartbeat_timeout_seconds=silence)
        return peers.join(patience)
    if jax.process_count() > 1:
        sys.exit(
            f"error: this host has a part of {jax.device_count()} devices, and nothing says where the others are: set "
            f"{processes.ADDRESS}, {processes.COUNT} and {processes.INDEX} on each"
        )
    return contextlib.nullcontext()


def start(arguments: Sequence[str]) -> None:
    """Parses `arguments` (the program's name first) and runs; ends the process."""
    arguments = found_or_exit(arguments)
    arguments.insert(1, "--verbosity=-1")  # warnings only: Orbax tells forty lines a checkpoint; a later one wins
    app.run(main, argv=arguments, flags_parser=parsed_or_exit)


if __name__ == "__main__":
    cpu.restart()
    start(sys.argv)
