"""What all stages read of a config: where the data are, what is allowed; and how they fail and speak."""

import functools
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import peers, processes
from leo_jax.data import manifest
from leo_jax.data.augment import AUGMENTATIONS
from leo_jax.data.puppets import make_dataset
from leo_jax.diffusion import STEPS
from leo_jax.training import profiling
from leo_jax.training.state import make_mesh
from leo_jax.training.stopping import Preempted

SHOWN_WITHIN = 10  # seconds
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ConfigError(ValueError):
    """The config asks for something that cannot be; the message names field, value and way out."""


def code_data(config: ConfigDict) -> str:
    """The folder of the videos whose codes are learnt: data.dir, or the longer puppets drawn beside it."""
    return f"{os.fspath(config.data.dir).rstrip('/')}-codes" if "code_puppets" in config else config.data.dir


def draw_puppets(config: ConfigDict, needed: Collection[str]) -> None:
    """Draws the puppets that the config describes into their folders, those of `needed` that are not there yet.

    'data' is data.dir and the section puppets, 'code_data' its `code_data` and the section code_puppets.
    """
    for name, section, folder in (
        ("data", "puppets", config.data.dir),
        ("code_data", "code_puppets", code_data(config)),
    ):
        if name in needed and section in config:
            arguments = {"name": config.data.name, "workers": processes.cores(), **config[section]}
            try:
                alone(functools.partial(make_dataset, folder, **arguments))
            except ValueError as error:
                raise ConfigError(f"the puppets of config.{section}, in {folder}: {error}") from error
            together(section)


def profile_of(config: ConfigDict) -> profiling.Range | None:
    """What `config.profile` asks to trace; raises ConfigError if that is no range of steps."""
    try:
        return profiling.parse_range(config.profile)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error


def stored_size(config: ConfigDict) -> int:
    """Side of the frames that the data should be prepared with: what is cropped before it is resized is stored larger."""
    crops = AUGMENTATIONS[config.data.augmentation].crop != 1
    return max(config.model.size, 256) if crops else config.model.size


def check_data(config: ConfigDict) -> None:
    """Raises ConfigError unless data.dir is a prepared data set, or puppets will be drawn there."""
    data = config.data
    try:
        there = bool(data.dir) and ("puppets" in config or manifest.load(data.dir) is not None)
    except ImportError as error:
        raise ConfigError(f"data.dir = {data.dir!r}: {error}") from error
    if not there:
        raise ConfigError(
            f"data.dir = {data.dir!r} is no prepared data set: make one with `leo prepare --videos DIR --out "
            f"{data.dir or 'OUT'} --size {stored_size(config)} --name {data.name or 'NAME'}` (docs/data.md has the whole "
            "commands), or pass --config.data.dir=…"
        )
    if data.stride < 1:
        raise ConfigError(f"data.stride = {data.stride}: at least 1")


def check_batch(field: str, size: int) -> None:
    """Raises ConfigError unless a global batch of `size` can be shared out among the devices."""
    devices = jax.device_count()
    if size < 1 or size % devices:
        raise ConfigError(f"{field} = {size} does not divide over {devices} devices: make it a multiple of {devices}")


def check_steps(field: str, steps: int) -> None:
    """Raises ConfigError unless a denoiser can be walked in so many steps."""
    if not 1 <= steps <= STEPS:
        raise ConfigError(f"{field} = {steps}: 1 to {STEPS}")


def check_parts(section: str, parts: int, batch_size: int, block: int) -> None:
    """Raises ConfigError unless a batch can be cut into `parts` equal parts of whole blocks of `block` samples."""
    whole = max(parts, 1) * block
    if parts < 1 or (parts > 1 and batch_size % whole):
        raise ConfigError(
            f"{section}.accumulate = {parts} with a batch of {batch_size}: take a multiple of {whole} samples, so that "
            f"every part has whole blocks of {block}, or accumulate = 1"
        )


def check_falloff(name: str, section: ConfigDict) -> None:
    """Raises ConfigError if the rate of the section `name` is to fall over fewer than no steps."""
    if section.falloff < 0:
        raise ConfigError(f"{name}.falloff = {section.falloff}: steps, or 0 for a rate that stays")


def mesh_of(config: ConfigDict, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh that `config.mesh` describes, over all devices or those given; raises ConfigError if it cannot be."""
    try:
        return make_mesh(devices, **config.mesh)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_dtype(field: str, dtype: str) -> None:
    """Raises ConfigError unless `dtype` is one of DTYPES."""
    if dtype not in DTYPES:
        raise ConfigError(f"{field} = {dtype!r}: one of {tuple(DTYPES)}")


def speaks() -> bool:
    """Whether this process is the one that writes files and tells what happens."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """One line for the person."""
    if speaks():
        print(text, flush=True)


def alone(work: Callable[[], Any]) -> None:
    """The first process does `work`, unless it is told to stop; the others go on to where they wait for it: `together`."""
    if speaks():
        peers.alone(work)


def check_shared(folder: pathlib.Path) -> None:
    """Raises ConfigError, in all processes, unless each finds in `folder` what the first one writes there."""
    if jax.process_count() == 1:
        return
    others = _others()
    name = others.gather("a mark in the workdir", f".{uuid.uuid4()}.shared")[0]
    mark = folder / name
    if speaks():
        mark.touch()
    try:
        others.gather("the mark is there", True)
        seen = others.gather("the mark is seen", _appears(mark))
    finally:
        if speaks():
            mark.unlink(missing_ok=True)
    if blind := [i for i, sees in enumerate(seen) if not sees]:
        raise ConfigError(
            f"--workdir={folder} is not one folder for all hosts: process{'es' if len(blind) > 1 else ''} "
            f"{', '.join(map(str, blind))} of {len(seen)} {'do' if len(blind) > 1 else 'does'} not see there what process 0 "
            "writes. Take one on a file system that all of them share (docs/launching.md)"
        )


def _appears(path: pathlib.Path) -> bool:
    """Whether it is there, within what a network's file system may take to show it."""
    for _ in range(SHOWN_WITHIN):
        if path.exists():
            return True
        time.sleep(1)
    return path.exists()


def _others() -> peers.Peers:
    others = peers.current()
    if others is None:
        raise RuntimeError("the processes do not watch each other: bring them together by leo_jax.main.join_others")
    return others


def together(what: str) -> None:
    """All processes wait here for each other.

    Raises:
        Preempted: one of them was told to stop; on all.
    """
    if jax.process_count() == 1:
        return
    if _others().meet(what):
        say("told to stop; what is finished is kept, the same command goes on from there")
        raise Preempted
