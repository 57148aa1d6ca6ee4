"""Small records and videos for the tests of this folder; functions that worker processes can import."""

import os
import signal
import time

import numpy as np

from leo_jax.data import records
from leo_jax.video import BadVideo


def picture(seed: int, size: int = 16) -> np.ndarray:
    """A smooth random RGB picture (size, size, 3)."""
    corners = np.random.default_rng(seed).uniform(0, 255, (2, 2, 3))
    t = np.linspace(0, 1, size)
    rows = corners[0, None] * (1 - t)[:, None, None] + corners[1, None] * t[:, None, None]
    return (rows[:, :1] * (1 - t)[None, :, None] + rows[:, 1:] * t[None, :, None]).astype(np.uint8)


def record(i: int, frames: int = 5, size: int = 16, lossless: bool = True) -> records.VideoRecord:
    """Record i: frame t is all (i, t, 7), so that a decoded pixel says where it comes from."""
    encoded = tuple(
        records.encode_frame(np.full((size, size, 3), (i % 256, t, 7), np.uint8), lossless) for t in range(frames)
    )
    return records.VideoRecord(f"clip-{i:04d}", "train", 25.0, f"clip-{i:04d}.mp4", 0, frames, size, size, encoded)


def make_still(i: int) -> list[records.VideoRecord]:
    """A record whose frames are all the same picture, so that what is done to them can be compared."""
    encoded = (records.encode_frame(picture(i, 32), lossless=True),) * 5
    return [records.VideoRecord(f"still-{i}", "train", 25.0, f"still-{i}.mp4", 0, 5, 32, 32, encoded)]


def make(i: int) -> list[records.VideoRecord]:
    """Two records for item 3, one for others."""
    return [record(i), record(i + 100)] if i == 3 else [record(i)]


def make_or_refuse(i: int) -> list[records.VideoRecord]:
    """Item 7 is a bad video."""
    if i == 7:
        raise BadVideo("clip-0007.mp4", "has 1 frame, 2 are needed")
    return make(i)


def make_slowly(i: int) -> list[records.VideoRecord]:
    """Takes its time, so that a test can kill the process in the middle."""
    time.sleep(0.05)
    return make(i)


def make_and_die(i: int) -> list[records.VideoRecord]:
    """SIGKILLs its own process at item 7."""
    if i == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(i)
