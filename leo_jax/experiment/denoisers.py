"""Stages motion, start, transition and first_frame from a config: one training for all."""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import api, files, weights
from leo_jax.data import manifest, pipeline
from leo_jax.data.codes import Single, Window
from leo_jax.data.source import open_split
from leo_jax.denoisers import (
    UNFINISHED_FILE,
    Denoiser,
    FirstFrame,
    Motion,
    Start,
    Statistics,
    Transition,
    describe,
    inputs_of,
)
from leo_jax.experiment.codes import summary
from leo_jax.experiment.marks import Stage, result_of
from leo_jax.experiment.settings import (
    DTYPES,
    ConfigError,
    check_batch,
    check_dtype,
    check_falloff,
    check_parts,
    code_data,
    profile_of,
    say,
    speaks,
)
from leo_jax.models.code_mlp import CodeMLP
from leo_jax.models.unet import UNet
from leo_jax.sampling.stages import STATISTICS_FILE
from leo_jax.training import denoising
from leo_jax.training.denoising_pictures import Render, make_picture
from leo_jax.training.loop import fit
from leo_jax.training.state import PyTree, to_host

MULTIPLIERS = {64: (1, 2, 3, 4), 128: (1, 1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4)}  # of the first frame's U-Net, by size
ATTENTION = (16, 8)  # px at which it attends
SHOWN = {"motion": 3, "start": 512, "transition": 3, "first_frame": 8}  # examples in a picture
SCHEDULES = ("linear", "cosine")
PREDICTIONS = ("noise", "velocity")
UNLEARNT = ("eta", "bound")  # of a description: what a trained network may be given anew


def denoiser_of(config: ConfigDict, name: str) -> Denoiser:
    """The denoiser that the section `name` describes. Raises ConfigError if there can be no such network."""
    section, code_dim = config[name], config.model.code_dim
    dtype = DTYPES[section.dtype or config.model.dtype]
    how = {name: section[name] for name in ("prediction", "eta", "bound")}
    if name == "start":
        module = CodeMLP(section.width, section.num_blocks, section.time_width, dtype)
        return Start(module, section.schedule, code_dim, **how)
    names = ("width", "num_blocks", "num_heads", "groups", "remat")
    fields = {"dtype": dtype, **{field: section[field] for field in names}}
    if name == "first_frame":
        size = config.model.size
        multipliers, attention = _by_size(section, size)
        unet = UNet(3, dims=2, multipliers=multipliers, attention=attention, condition_dim=code_dim, **fields)
        return FirstFrame(unet, section.schedule, size, **how)
    unet = UNet(code_dim, multipliers=tuple(section.multipliers), attention=tuple(section.attention), **fields)
    if name == "motion":
        return Motion(unet, section.schedule, section.length, section.lmc, **how)
    return Transition(unet, section.schedule, section.length, **how)


def _by_size(section: ConfigDict, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(multipliers, attention factors) of the first frame's U-Net: those given, else those of the size."""
    multipliers = tuple(section.multipliers)
    if not multipliers and size not in MULTIPLIERS:
        raise ConfigError(
            f"first_frame.multipliers is empty, and only sizes {tuple(MULTIPLIERS)} have their own: give those of "
            f'model.size = {size}, such as --config.first_frame.multipliers="(1, 2, 2)"'
        )
    attention = tuple(section.attention) or tuple(size // px for px in ATTENTION if size >= px)
    multipliers = multipliers or MULTIPLIERS[size]
    deepest = 2 ** (len(multipliers) - 1)
    if not section.attention and max(attention, default=1) > deepest:
        raise ConfigError(
            f"first_frame.attention is empty, which is at {ATTENTION} px, and first_frame.multipliers = {multipliers} of "
            f"{size} px end at {size // deepest}: leave them empty too, or name the factors that it is to attend at"
        )
    return multipliers, attention


def check(config: ConfigDict, name: str) -> None:
    """Everything about a denoiser that can be seen to be wrong before anything is made."""
    section = config[name]
    check_dtype("model.dtype", config.model.dtype)
    check_dtype(f"{name}.dtype", section.dtype or config.model.dtype)
    check_batch(f"{name}.batch_size", section.batch_size)
    check_parts(name, section.accumulate, section.batch_size, 1)
    check_falloff(name, section)
    if section.start_from:
        begun(config, name)
    if not (0 <= section.eta <= 1 and section.bound >= 0):
        raise ConfigError(f"{name}.eta = {section.eta}, {name}.bound = {section.bound}: 0 to 1, and not negative")
    if section.prediction not in PREDICTIONS:
        raise ConfigError(f"{name}.prediction = {section.prediction!r}: one of {PREDICTIONS}")
    if section.schedule not in SCHEDULES:
        raise ConfigError(f"{name}.schedule = {section.schedule!r}: one of {SCHEDULES}")
    shortest = {"motion": 2, "transition": 3}.get(name)
    if shortest and section.length < shortest:
        raise ConfigError(
            f"{name}.length = {section.length}: at least {shortest} codes, so that one is left to be made"
        )
    denoiser = denoiser_of(config, name)
    try:
        weights.shapes_of(denoiser.module, *inputs_of(denoiser))
    except ValueError as error:
        raise ConfigError(f"config.{name} describes a network that cannot be: {error}") from error
    if shortest:
        check_span(config, name)


def check_span(config: ConfigDict, name: str) -> None:
    """Raises ConfigError if it is certain, before codes are made, that no video is long enough for the windows of `name`."""
    span = (config[name].length - 1) * config.data.stride + 1
    if "code_puppets" in config:
        longest, cut = config.code_puppets.frames, math.inf
    else:
        found = manifest.load(config.data.dir)
        if found is None or "train" not in found.splits:
            return
        longest = int(open_split(config.data.dir, "train").frame_counts.max(initial=0))
        cut = found.splits["train"].options.get("chunk", math.inf)
    # Of a clip that was cut into records, each has over half of `chunk`: then the joined ones may be long enough.
    if longest < span and 2 * longest <= cut:
        raise ConfigError(
            f"{name}.length = {config[name].length} at data.stride = {config.data.stride} spans {span} frames, the longest "
            f"video has {longest}: lower either, or give longer videos"
        )


def example_of(config: ConfigDict, name: str, workdir: pathlib.Path, split: str, *, pictures: bool) -> Window | Single:
    """What the denoiser learns from, of one split; with the pictures of the codes if asked for, or needed."""
    source, code_dim = open_split(workdir / "codes", split), config.model.code_dim
    videos = open_split(code_data(config), split) if pictures or name == "first_frame" else None
    size = config.model.size if videos is not None else 0
    if name in ("motion", "transition"):
        return Window(source, config[name].length, code_dim, config.data.stride, videos, size)
    return Single(source, code_dim, videos, size)


def batches(config: ConfigDict, name: str, workdir: pathlib.Path) -> pipeline.Batches:
    """The training input: this process's part of each batch. Tells of videos that are too short, ConfigError if all are."""
    try:
        example = example_of(config, name, workdir, "train", pictures=False)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    if isinstance(example, Window) and example.dropped:
        say(f"{name}: {told_dropped(example)}")
    images = name == "first_frame"  # codes are read in no time
    return pipeline.Batches(
        example,
        config[name].batch_size,
        config.seed,
        jax.process_index(),
        jax.process_count(),
        workers=config.data.workers if images else 0,
        on_corrupt=config.data.on_corrupt,
    )


def told_dropped(window: Window) -> str:
    """How many videos are too short for the windows."""
    count = len(window.source)
    return f"{window.dropped} of {count} training videos have fewer than {window.span} frames and are left out"


def heldout(config: ConfigDict, name: str, workdir: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The fixed examples that are measured at each checkpoint; None without a test split, or one that is too short."""
    if not config[name].heldout or not _has_test(workdir):
        return None
    try:
        example = example_of(config, name, workdir, "test", pictures=False)
    except ValueError as error:
        say(f"{name}: no held-out loss, for in the test split {error}")
        return None
    return pipeline.fixed(example, config[name].heldout, config.seed)


def shown(config: ConfigDict, name: str, workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """The real examples in its pictures: of the test split where that has any, else of the training split."""
    split = "test" if _has_test(workdir) else "train"
    try:
        example = example_of(config, name, workdir, split, pictures=name != "start")
    except ValueError:
        example = example_of(config, name, workdir, "train", pictures=name != "start")
    return pipeline.fixed(example, SHOWN[name], config.seed)


def _has_test(workdir: pathlib.Path) -> bool:
    found = manifest.load(workdir / "codes")
    return found is not None and "test" in found.splits


def begun(config: ConfigDict, name: str) -> PyTree | None:
    """The network that `start_from` names, None if none. Raises ConfigError if it is not finished, or of another kind."""
    named = config[name].start_from
    if not named:
        return None
    field, denoiser = f"{name}.start_from = {named!r}", denoiser_of(config, name)
    try:
        folder = api.find_root(named) / name
        if not (folder / weights.MODEL_FILE).exists():
            raise FileNotFoundError(f"{folder} holds no finished model; name the folder that holds {name}/")
        there, here = _learnt(weights.load_description(folder)[name]), _learnt(describe(denoiser))
        if different := [part for part in {**there, **here} if there.get(part) != here.get(part)]:
            told = ", ".join(f"{part} {there.get(part)!r} there, {here.get(part)!r} here" for part in different)
            raise ValueError(f"another network: {told}")
        params = weights.load_tree(folder / f"{name}.npz")
        weights.check_tree(params, weights.shapes_of(denoiser.module, *inputs_of(denoiser)), what=str(folder))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise ConfigError(f"{field}: {error}") from error
    return params


def _learnt(description: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a description that decide what a network computes, in one level, as JSON has them."""
    plain = json.loads(json.dumps(description))
    fields = {part: value for part, value in plain.items() if part not in (*UNLEARNT, "network")}
    return fields | {part: value for part, value in plain["network"].items() if part != "remat"}


def _say_of_other_codes(config: ConfigDict, name: str, statistics: Statistics) -> None:
    """Tells if the network that training begins with knew codes of other statistics: of another animator, perhaps."""
    path = api.find_root(config[name].start_from) / name / STATISTICS_FILE
    known = weights.load_tree(path)
    if not all(np.allclose(known[part], value, rtol=1e-3, atol=1e-4) for part, value in statistics._asdict().items()):
        say(f"{name}: {path} is of other codes than this run's; the network has to learn these")


def settings_of(section: ConfigDict) -> denoising.Settings:
    """The constants of the training that a section describes."""
    return denoising.Settings(**{f.name: section[f.name] for f in dataclasses.fields(denoising.Settings)})


def run(config: ConfigDict, folder: pathlib.Path, mesh: Mesh, name: str) -> None:
    """Trains the denoiser in `folder` and writes it there: model.json, <stage>.npz (the running mean), statistics.npz."""
    section, workdir = config[name], folder.parent
    denoiser, (statistics, fps) = denoiser_of(config, name), summary(workdir)
    settings = settings_of(section)
    with_input, held = batches(config, name, workdir), heldout(config, name, workdir)
    evaluate = denoising.make_evaluation(denoiser, held, seed=config.seed) if held is not None else None
    picture = make_picture(denoiser, shown(config, name, workdir), render=renderer(workdir))
    if (given := begun(config, name)) is not None:
        _say_of_other_codes(config, name, statistics)
    task = denoising.make_task(denoiser, statistics, settings, given=given, picture=picture, evaluate=evaluate)
    about = {name: describe(denoiser), "stride": config.data.stride, "fps": fps}
    if speaks():  # what `leo_jax.load` needs beside a checkpoint, while this stage is still in training
        weights.save_tree(folder / "statistics.npz", statistics._asdict())
        files.atomic_write(folder / UNFINISHED_FILE, json.dumps(about, indent=2) + "\n")
    state = fit(
        task,
        with_input,
        workdir=folder,
        mesh=mesh,
        steps=section.steps,
        seed=config.seed,
        log_every=section.log_every,
        picture_every=section.picture_every,
        checkpoint_every=section.checkpoint_every,
        keep=section.keep,
        skip_batches=section.resume_skip_batches,
        best_metric="heldout/loss" if evaluate else None,
        profile=profile_of(config),
    )
    with_input.close()
    params = to_host(state["ema"])
    if speaks():
        parts = {name: params, "statistics": statistics._asdict()}
        weights.save_model(folder, {**about, "trained_steps": section.steps}, parts)


def renderer(workdir: pathlib.Path) -> Render:
    """(image, codes) → frames, by the animator in `workdir`, all bytes."""
    model = api.load(workdir / "animator")

    def render(image: np.ndarray, codes: np.ndarray) -> np.ndarray:
        frames = np.concatenate(list(model.renderer.frames(image, codes)))
        return np.round((frames + 1) * 127.5).astype(np.uint8)

    return render


def stage(config: ConfigDict, name: str) -> Stage:
    """The stage that trains one denoiser."""
    fields = {
        "motion": ("seed", "data.stride", "motion"),
        "start": ("seed", "start"),
        "transition": ("seed", "data.stride", "transition"),
        "first_frame": ("seed", "model.size", "first_frame"),
    }[name]
    reads = {"codes": True, "code_data": name == "first_frame", "begun": bool(config[name].start_from)}
    needs = tuple(need for need, reads_it in reads.items() if reads_it)
    check_, run_ = functools.partial(check, name=name), functools.partial(run, name=name)
    return Stage(fields, needs, check_, run_, result_of(f"{name}.npz", weights.MODEL_FILE, last=weights.MODEL_FILE))
