"""Stage 1 from a config: the adversarial training, or a model that is there already."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import api, files, weights
from leo_jax.convert.vgg19 import WHERE as WHERE_VGG19
from leo_jax.convert.vgg19 import load as load_vgg19
from leo_jax.data import heldout, manifest, pipeline
from leo_jax.data.augment import AUGMENTATIONS
from leo_jax.data.source import open_split
from leo_jax.experiment.marks import Stage, result_of
from leo_jax.experiment.settings import (
    DTYPES,
    ConfigError,
    check_batch,
    check_data,
    check_dtype,
    check_falloff,
    check_parts,
    profile_of,
    say,
    speaks,
)
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import BLOCK, Discriminator
from leo_jax.models.layers import scaled
from leo_jax.training import animator as adversarial
from leo_jax.training.loop import fit
from leo_jax.training.state import Evaluation, PyTree, Task, to_host

SIZES = (8, 16, 32, 64, 128, 256, 512)
ANIMATOR_FILE = "animator.npz"


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
        on_corrupt=data.on_corrupt,
    )


def make_task(
    config: ConfigDict, *, vgg19: PyTree, given: PyTree | None = None, evaluate: Evaluation | None = None
) -> Task:
    """The adversarial task that `config` describes, with VGG19's weights (or their shapes) if it asks for them.

    `given` are the parts of a model to begin with; without them training begins from random parameters.
    """
    animator, discriminator = networks(config)
    section = config.animator
    settings = adversarial.Settings(**{f.name: section[f.name] for f in dataclasses.fields(adversarial.Settings)})
    critic = discriminator if settings.adversarial_weight > 0 else None
    return adversarial.make_task(animator, critic, settings, vgg19=vgg19, given=given, evaluate=evaluate)


def animator_task(config: ConfigDict) -> Task:
    """Stage 1: the adversarial task, measured on the test split if the data have one."""
    section, evaluate = config.animator, None
    found = manifest.load(config.data.dir)
    if section.heldout_pairs and found is not None and "test" in found.splits:
        pairs = heldout.pairs(
            open_split(config.data.dir, "test"), number=section.heldout_pairs, size=config.model.size, seed=config.seed
        )
        evaluate = adversarial.make_evaluation(networks(config)[0], pairs.source, pairs.driving, pairs.moving)
    vgg19 = load_vgg19(section.vgg19) if section.perceptual == "vgg19" else None
    return make_task(config, vgg19=vgg19, given=_begun(config), evaluate=evaluate)


def _begun(config: ConfigDict) -> PyTree | None:
    """The parts of the model that `animator.start_from` names."""
    if not config.animator.start_from:
        return None
    folder = _model(config, "animator.start_from", ("size", "width", "code_dim"))
    animator, discriminator = networks(config)
    parts = {"animator": (folder / ANIMATOR_FILE, api.shapes_of(animator))}
    if (path := folder / "discriminator.npz").exists():
        image = jax.ShapeDtypeStruct((1, animator.size, animator.size, 3), np.float32)
        parts["discriminator"] = (path, weights.shapes_of(discriminator, image))
    given = {}
    for name, (path, shapes) in parts.items():
        given[name] = weights.load_tree(path)
        weights.check_tree(given[name], shapes, what=f"{path}, for animator.start_from")
    return given


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
    check_dtype("model.dtype", model.dtype)
    if data.augmentation not in AUGMENTATIONS:
        raise ConfigError(f"data.augmentation = {data.augmentation!r}: one of {tuple(AUGMENTATIONS)}")
    if section.adversarial_weight > 0 and data.batch_size > 4 and data.batch_size % 4:
        raise ConfigError(
            f"data.batch_size = {data.batch_size}: the discriminator compares samples in fours, take a multiple of 8"
        )
    check_parts("animator", section.accumulate, data.batch_size, BLOCK if section.adversarial_weight > 0 else 1)
    check_falloff("animator", section)
    if section.perceptual not in ("vgg19", "pyramid_l1"):
        raise ConfigError(f"animator.perceptual = {section.perceptual!r}: 'vgg19' or 'pyramid_l1'")
    if section.perceptual == "vgg19" and not pathlib.Path(section.vgg19).is_file():
        found = f"names no file: {section.vgg19!r}" if section.vgg19 else "is not set"
        raise ConfigError(
            f"animator.perceptual = 'vgg19' needs weights, and animator.vgg19 {found}. {WHERE_VGG19}\nand pass "
            "--config.animator.vgg19=vgg19.npz. To train without: --config.animator.perceptual=pyramid_l1"
        )
    check_data(config)
    check_batch("data.batch_size", data.batch_size)
    if section.start_from:
        _model(config, "animator.start_from", ("size", "width", "code_dim"))


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
        skip_batches=section.resume_skip_batches,
        best_metric=best,
        profile=profile_of(config),
    )
    batches.close()
    params = to_host(adversarial.generator_params(state))
    if speaks():
        model = config.model
        sizes = {"size": model.size, "width": model.width, "code_dim": model.code_dim}
        weights.save_model(folder, {"animator": sizes, "trained_steps": section.steps}, {"animator": params})


def _model(config: ConfigDict, field: str, sizes: tuple[str, ...]) -> pathlib.Path:
    """The folder of the finished model that a field names. Raises ConfigError unless `sizes` are those of `config.model`."""
    section, _, last = field.rpartition(".")
    named = (config[section] if section else config)[last]
    try:
        folder = api.find(named)
        if not (folder / weights.MODEL_FILE).exists():
            raise ConfigError(f"{field} = {named!r} is still in training: finish it first")
        found = weights.load_description(folder)["animator"]
    except (FileNotFoundError, KeyError) as error:
        raise ConfigError(f"{field} = {named!r}: {error}") from error
    for size in sizes:
        if found[size] != config.model[size]:
            raise ConfigError(
                f"{field} = {named!r} has {size} {found[size]}, the config says model.{size} = {config.model[size]}: "
                f"pass --config.model.{size}={found[size]}, or another animator"
            )
    return folder


def given_animator(config: ConfigDict) -> pathlib.Path:
    """The folder of the model that `config.animator_from` names. Raises ConfigError if it does not fit `config.model`."""
    return _model(config, "animator_from", ("size", "code_dim"))


def check_given(config: ConfigDict) -> None:
    """Everything about an animator that is not trained here."""
    given_animator(config)
    check_data(config)


def take_animator(config: ConfigDict, folder: pathlib.Path, mesh: Mesh) -> None:
    """Copies the given animator into `folder`, so that the run's folder has all that its videos need."""
    given = given_animator(config)
    if speaks() and given.resolve() != folder.resolve():
        for name in (ANIMATOR_FILE, weights.MODEL_FILE):
            with files.atomic_path(folder / name) as temporary:
                shutil.copyfile(given / name, temporary)
    say(f"animator: taken from {given}")


def stage(config: ConfigDict) -> Stage:
    """Stage 1: trained, or taken from where `config.animator_from` says."""
    result = result_of(ANIMATOR_FILE, last=weights.MODEL_FILE)
    if config.animator_from:
        sizes = ("model.size", "model.code_dim")
        return Stage(sizes, ("given",), check_given, take_animator, result)
    needs = ("data", "begun") if config.animator.start_from else ("data",)
    return Stage(("seed", "model", "data", "animator", "puppets"), needs, check_animator, train_animator, result)
