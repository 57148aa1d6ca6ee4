"""From a config to a run: the only reader of ConfigDict. Everything below takes plain named arguments.

`run(config, workdir)` goes through `config.stages`; each has its folder in the workdir, with the config that made it.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import files, weights
from leo_jax.convert.vgg19 import WHERE as WHERE_VGG19
from leo_jax.convert.vgg19 import load as load_vgg19
from leo_jax.data import heldout, manifest, pipeline
from leo_jax.data.augment import AUGMENTATIONS
from leo_jax.data.puppets import make_dataset
from leo_jax.data.source import open_split
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import BLOCK, Discriminator
from leo_jax.models.layers import scaled
from leo_jax.training import animator as adversarial
from leo_jax.training.loop import fit
from leo_jax.training.state import Task, make_mesh, to_host

CONFIG_FILE = "config.json"
SIZES = (8, 16, 32, 64, 128, 256, 512)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SHOWN = 12  # differing fields listed

# Fields that a resumed run may change: how long, how often, from where, in which parts; nothing that a step computes.
FREE = (
    ("model", "remat"),
    ("data", "dir"),
    ("data", "workers"),
    ("animator", "steps"),
    ("animator", "accumulate"),
    ("animator", "vgg19"),
    ("animator", "log_every"),
    ("animator", "picture_every"),
    ("animator", "checkpoint_every"),
    ("animator", "keep"),
    ("animator", "heldout_pairs"),
)


class ConfigError(ValueError):
    """The config asks for something that cannot be; the message names field, value and way out."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the whole run.

    Attributes:
        sections: the parts of the config that decide what it computes; they are kept in its folder.
        check: raises ConfigError before anything is made.
        run: (config, folder, mesh) does the work, from where it was cut off.
    """

    sections: tuple[str, ...]
    check: Callable[[ConfigDict], None]
    run: Callable[[ConfigDict, pathlib.Path, Mesh], None]


def run(config: ConfigDict, workdir: files.PathLike, *, accept_changes: bool = False) -> dict[str, pathlib.Path]:
    """Runs `config.stages` in `workdir` and returns each one's folder.

    Args:
        config: as `configs/*.py` make it.
        workdir: the run's folder.
        accept_changes: go on with checkpoints of another config, which is an error otherwise.

    Raises:
        ConfigError: the config is impossible, or the workdir holds checkpoints of another one.
        Whatever `training.loop.fit` raises.
    """
    workdir = pathlib.Path(workdir)
    unknown = [name for name in config.stages if name not in STAGES]
    if unknown or not config.stages:
        raise ConfigError(f"config.stages = {tuple(config.stages)}: name some of {tuple(STAGES)}")
    for name in config.stages:
        STAGES[name].check(config)
    mesh = mesh_of(config)
    prepare_puppets(config)
    for name in config.stages:
        keep_config(config, STAGES[name], workdir / name, accept_changes=accept_changes)
        STAGES[name].run(config, workdir / name, mesh)
    return {name: workdir / name for name in config.stages}


def mesh_of(config: ConfigDict, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh that `config.mesh` describes, over all devices or those given; raises ConfigError if it cannot be made."""
    try:
        return make_mesh(devices, **config.mesh)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def prepare_puppets(config: ConfigDict) -> None:
    """Draws the puppets that `config.puppets` describes into `data.dir`, unless they are there."""
    if "puppets" in config:
        if jax.process_index() == 0:
            try:
                make_dataset(config.data.dir, name=config.data.name, workers=os.cpu_count() or 1, **config.puppets)
            except ValueError as error:
                raise ConfigError(f"the puppets of config.puppets, in data.dir: {error}") from error
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("puppets")


def networks(config: ConfigDict) -> tuple[Animator, Discriminator]:
    """The animator and the discriminator that `config.model` describes."""
    model = config.model
    dtype = DTYPES[model.dtype]
    shared = {"size": model.size, "width": model.width, "dtype": dtype, "remat": model.remat}
    return Animator(code_dim=model.code_dim, **shared), Discriminator(**shared)


def animator_batches(config: ConfigDict) -> pipeline.Batches:
    """The training input: this process's part of each batch of frame pairs."""
    data = config.data
    return pipeline.pairs(
        open_split(data.dir, "train"),
        batch_size=data.batch_size,
        seed=config.seed,
        size=config.model.size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        augmentation=data.augmentation,
        stride=data.stride,
        workers=data.workers,
    )


def animator_task(config: ConfigDict) -> Task:
    """Stage 1: the adversarial task, measured on the test split if the data have one."""
    animator, discriminator = networks(config)
    section = config.animator
    settings = adversarial.Settings(**{f.name: section[f.name] for f in dataclasses.fields(adversarial.Settings)})
    evaluate = None
    found = manifest.load(config.data.dir)
    if section.heldout_pairs and found is not None and "test" in found.splits:
        pairs = heldout.pairs(
            open_split(config.data.dir, "test"), number=section.heldout_pairs, size=config.model.size, seed=config.seed
        )
        evaluate = adversarial.make_evaluation(animator, pairs.source, pairs.driving, pairs.moving)
    return adversarial.make_task(
        animator,
        discriminator if settings.adversarial_weight > 0 else None,
        settings,
        vgg19=load_vgg19(section.vgg19) if settings.perceptual == "vgg19" else None,
        evaluate=evaluate,
    )


def check_animator(config: ConfigDict) -> None:
    """Everything about stage 1 that can be seen to be wrong before data are made or a device is touched."""
    model, data, section = config.model, config.data, config.animator
    if model.size not in SIZES:
        raise ConfigError(f"model.size = {model.size}: one of {SIZES}")
    style_dim = scaled(512, model.width)
    if style_dim < model.code_dim:
        raise ConfigError(
            f"model.code_dim = {model.code_dim}: at most {style_dim} directions are orthogonal in the style space of "
            f"model.width = {model.width}; lower it or widen the model"
        )
    if model.dtype not in DTYPES:
        raise ConfigError(f"model.dtype = {model.dtype!r}: one of {tuple(DTYPES)}")
    if data.augmentation not in AUGMENTATIONS:
        raise ConfigError(f"data.augmentation = {data.augmentation!r}: one of {tuple(AUGMENTATIONS)}")
    if section.adversarial_weight > 0 and data.batch_size > 4 and data.batch_size % 4:
        raise ConfigError(
            f"data.batch_size = {data.batch_size}: the discriminator compares samples in fours, take a multiple of 8"
        )
    whole = max(section.accumulate, 1) * (BLOCK if section.adversarial_weight > 0 else 1)
    if section.accumulate < 1 or (section.accumulate > 1 and data.batch_size % whole):
        raise ConfigError(
            f"animator.accumulate = {section.accumulate}, data.batch_size = {data.batch_size}: make the batch a multiple "
            f"of {whole}, so that every part has whole blocks of the minibatch statistic, or accumulate = 1"
        )
    if section.perceptual not in ("vgg19", "pyramid_l1"):
        raise ConfigError(f"animator.perceptual = {section.perceptual!r}: 'vgg19' or 'pyramid_l1'")
    if section.perceptual == "vgg19" and not pathlib.Path(section.vgg19).is_file():
        found = f"names no file: {section.vgg19!r}" if section.vgg19 else "is not set"
        raise ConfigError(
            f"animator.perceptual = 'vgg19' needs weights, and animator.vgg19 {found}. {WHERE_VGG19}\nand pass "
            "--config.animator.vgg19=vgg19.npz. To train without: --config.animator.perceptual=pyramid_l1"
        )
    if not data.dir or ("puppets" not in config and manifest.load(data.dir) is None):
        raise ConfigError(
            f"data.dir = {data.dir!r} is no prepared data set: make one with `leo prepare --videos DIR --out "
            f"{data.dir or 'OUT'} --size {model.size} --name {data.name or 'NAME'}`, or pass --config.data.dir=…"
        )
    devices = jax.device_count()
    if data.batch_size < 1 or data.batch_size % devices:
        raise ConfigError(
            f"data.batch_size = {data.batch_size} does not divide over {devices} devices: make it a multiple of {devices}"
        )


def train_animator(config: ConfigDict, folder: pathlib.Path, mesh: Mesh) -> None:
    """Trains stage 1 in `folder` and writes the finished model there, as `leo_jax.load` opens it."""
    task, section = animator_task(config), config.animator
    best = None
    if task.evaluate:
        best = "heldout/moving_l1" if "puppets" in config else "heldout/l1"
    batches = animator_batches(config)
    state = fit(
        task,
        batches,
        workdir=folder,
        mesh=mesh,
        steps=section.steps,
        seed=config.seed,
        log_every=section.log_every,
        picture_every=section.picture_every,
        checkpoint_every=section.checkpoint_every,
        keep=section.keep,
        best_metric=best,
    )
    batches.close()
    params = to_host(adversarial.generator_params(state))
    if jax.process_index() == 0:
        model = config.model
        sizes = {"size": model.size, "width": model.width, "code_dim": model.code_dim}
        weights.save_model(folder, {"animator": sizes, "trained_steps": section.steps}, {"animator": params})


STAGES: Mapping[str, Stage] = {
    "animator": Stage(("seed", "model", "data", "animator", "puppets"), check_animator, train_animator)
}


def keep_config(config: ConfigDict, stage: Stage, folder: pathlib.Path, *, accept_changes: bool) -> None:
    """Writes the stage's sections to `folder`/config.json; where checkpoints are, compares them first.

    Raises:
        ConfigError: the checkpoints are of another config; lists the fields that differ.
    """
    plain = json.loads(config.to_json())
    here = {name: plain[name] for name in stage.sections if name in plain}
    path = folder / CONFIG_FILE
    if path.exists() and any((folder / "checkpoints").glob("[0-9]*")) and not accept_changes:
        differing = differences(json.loads(path.read_text()), here)
        if differing:
            more = f"\n  … and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            raise ConfigError(
                f"{folder} holds checkpoints of another config:\n  " + "\n  ".join(differing[:SHOWN]) + more + "\n"
                f"set them back (all are in {path}), choose another --workdir, or go on nevertheless with --accept_changes"
            )
    if jax.process_index() == 0:
        files.atomic_write(path, json.dumps(here, indent=2) + "\n")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """'animator.generator_lr: 0.002 there, 0.001 here' for each field that differs, those of FREE left out."""
    old, new = dict(_fields(there)), dict(_fields(here))
    told = lambda values, name: json.dumps(values[name]) if name in values else "nothing"
    names = [name for name in {**old, **new} if name not in FREE and told(old, name) != told(new, name)]
    return [f"{'.'.join(name)}: {told(old, name)} there, {told(new, name)} here" for name in names]


def _fields(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in tree.items():
        path = (*above, name)
        found += _fields(value, path) if isinstance(value, Mapping) else [(path, value)]
    return found
