"""Puppet videos as records on disk, with their ground truth beside the frames."""

import functools
import os
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from leo_jax.data import records, writing
from leo_jax.data.manifest import Manifest
from leo_jax.data.puppets.motion import STYLES
from leo_jax.data.puppets.video import HELD_OUT, PuppetVideo, render

SPLITS = {"train": 0, "test": HELD_OUT}  # the first index of each split
VERSION = 3  # part of the options: raise it when the same seed and index give another picture


def record(
    seed: int, index: int, *, frames: int, size: int, preset: str, split: str = "train", lossless: bool = False
) -> records.VideoRecord:
    """Video `index` as a record; its id is `puppet-SEED-INDEX`, its extras are described in the package's docstring."""
    video = render(seed, index, frames=frames, size=size, preset=preset)
    return records.VideoRecord(
        id=f"puppet-{seed}-{index}",
        split=split,
        fps=video.fps,
        source=f"puppets:{preset}:{seed}:{index}",
        start=0,
        end=frames,
        height=size,
        width=size,
        frames=tuple(records.encode_frame(frame, lossless) for frame in video.frames),
        extras=extras(video),
    )


def extras(video: PuppetVideo) -> dict[str, np.ndarray]:
    """The ground truth of a video as a record's extras."""
    return {
        "joints": video.joints,
        "visibility": video.visibility,
        "silhouette": np.packbits(video.silhouette.reshape(len(video.silhouette), -1), axis=-1),
        "identity": video.identity,
        "motion": video.motion,
        "style": np.asarray(STYLES.index(video.style), np.int32),
    }


def unpack_silhouette(packed: UInt8[np.ndarray, "t n"], height: int, width: int) -> Bool[np.ndarray, "t h w"]:
    """The masks in a record's `silhouette`."""
    bits = np.unpackbits(packed, axis=-1, count=height * width)
    return bits.reshape(len(packed), height, width).astype(bool)


def make_dataset(
    out: str | os.PathLike,
    *,
    num_train: int,
    num_test: int,
    frames: int,
    size: int,
    preset: str,
    name: str = "puppets",
    seed: int = 0,
    workers: int = 0,
    lossless: bool = True,
    progress: bool = True,
) -> Manifest:
    """Writes splits `train` (indices from 0) and `test` (from HELD_OUT, other people); returns the manifest.

    Small frames are stored losslessly by default: JPEG's blocks are as large as a puppet's head there, and PNG takes
    little more room. Restartable, and the same for any number of `workers` (0: in this process).
    Raises: ValueError for sizes, presets and counts that make no sense, or if `out` holds something else.
    """
    counts = {"train": num_train, "test": num_test}
    if min(counts.values()) < 0 or not 0 < sum(counts.values()) or max(counts.values()) > HELD_OUT:
        raise ValueError(f"{num_train} training and {num_test} test videos: give 0 to {HELD_OUT}, at least one of them")
    options = {"preset": preset, "seed": seed, "frames": frames, "size": size, "lossless": lossless, "version": VERSION}
    drawing: dict[str, Any] = {"seed": seed, "frames": frames, "size": size, "preset": preset, "lossless": lossless}
    manifests = [
        writing.write_dataset(
            out,
            name,
            split,
            range(SPLITS[split], SPLITS[split] + count),
            functools.partial(_records, split=split, **drawing),
            workers=workers,
            options=options,
            progress=progress,
        )
        for split, count in counts.items()
        if count
    ]
    return manifests[-1]


def _records(index: int, **arguments) -> list[records.VideoRecord]:
    return [record(index=index, **arguments)]
