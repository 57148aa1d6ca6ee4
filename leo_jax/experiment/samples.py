"""Stage 'sample' from a config: a few videos of every kind, to look at."""

import pathlib

import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8
from ml_collections import ConfigDict

from leo_jax import api
from leo_jax.data import augment, manifest
from leo_jax.data.source import open_split
from leo_jax.experiment.marks import Stage, result_of
from leo_jax.experiment.settings import ConfigError, alone, check_data, check_steps, code_data, say
from leo_jax.sampling.samples import write_samples

SHEET = "samples.png"


def check(config: ConfigDict) -> None:
    """Raises ConfigError for numbers that cannot be."""
    check_data(config)
    for field in ("num", "frames", "long_frames", "steps"):
        if config.sample[field] < 1:
            raise ConfigError(f"sample.{field} = {config.sample[field]}: at least 1")
    check_steps("sample.steps", config.sample.steps)
    if "motion" in config.stages and not config.motion.lmc and config.sample.frames > config.motion.length:
        raise ConfigError(
            f"sample.frames = {config.sample.frames}: without the Linear Motion Condition (motion.lmc) a video has at most "
            f"motion.length = {config.motion.length} frames"
        )


def first_images(config: ConfigDict) -> UInt8[np.ndarray, "n h w 3"]:
    """First frames of `sample.num` videos, spread over the test split, or the training split where there is no other."""
    found = manifest.load(code_data(config))
    videos = open_split(code_data(config), "test" if found is not None and "test" in found.splits else "train")
    size, number = config.model.size, config.sample.num
    images = np.empty((number, size, size, 3), np.uint8)
    for i, out in zip(np.linspace(0, len(videos), number, endpoint=False).astype(int), images, strict=True):
        augment.decode(videos.frame(i, 0), out)
    return images


def run(config: ConfigDict, folder: pathlib.Path, mesh: Mesh) -> None:
    """Writes the videos and a contact sheet. One process does it: they are few."""

    def work() -> None:
        section = config.sample
        lengths = {"frames": section.frames, "long_frames": section.long_frames}
        model = api.load(folder.parent)
        paths = write_samples(model, first_images(config), folder, **lengths, steps=section.steps, seed=config.seed)
        say(f"sample: {', '.join(path.name for path in paths)}")

    alone(work)


def stage(config: ConfigDict) -> Stage:
    """The samples: cheap, so they are made anew when something changes."""
    return Stage(
        ("seed", "sample"),
        ("code_data", "animator", "motion"),
        check,
        run,
        result_of(SHEET, last=SHEET),
        trained=False,
        uses=("start", "transition", "first_frame"),
    )
