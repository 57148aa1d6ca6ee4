"""What the input must bring for the devices not to wait: frames, bytes and processor cores of a host."""

import dataclasses
import time

import numpy as np

from leo_jax import files
from leo_jax.aot.roofline import Roofline
from leo_jax.data import pipeline
from leo_jax.data.source import open_split

# Measured, one core, 256 px, real video, with Taichi's augmentation (docs/data.md); a JPEG frame of it.
FRAMES_PER_CORE, FRAME_BYTES = 1450.0, 24_000.0
SAMPLE = 256  # frames measured


@dataclasses.dataclass(frozen=True)
class Input:
    """What one host reads and decodes at the bound's rate: frames, bytes and fully used cores a second."""

    frames: float
    bytes: float
    cores: float


def needed(roofline: Roofline, pictures: int, *, frames_per_core: float, frame_bytes: float) -> Input:
    """What a host with all its chips needs, where an example takes `pictures` frames."""
    place = roofline.place
    hosts = max(place.devices / place.chip.host, 1.0)
    frames = roofline.rate * pictures / hosts
    return Input(frames, frames * frame_bytes, frames / frames_per_core)


def measured(directory: files.PathLike, size: int, augmentation: str) -> tuple[float, float]:
    """(frames a second of one core, bytes a frame) of a prepared data set, by making training pairs of it here."""
    source = open_split(directory, "train")
    rng = np.random.default_rng(0)
    some = rng.integers(len(source), size=SAMPLE)
    frame_bytes = float(np.mean([len(source.frame(i, 0)) for i in some]))
    batches = pipeline.pairs(source, batch_size=16, seed=0, size=size, augmentation=augmentation, threads=1)
    for _ in range(2):
        next(batches)  # opens files
    start, processor = time.perf_counter(), time.process_time()
    count = 0
    while time.perf_counter() - start < 3.0:
        count += 2 * len(next(batches)["source"])
    batches.close()
    return count / (time.process_time() - processor), frame_bytes
