"""A fixed set of frame pairs from videos that are not trained on, to measure a model by."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from leo_jax.data import augment, records
from leo_jax.data.puppets.dataset import unpack_silhouette
from leo_jax.data.source import TFRecordSource


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Source and driving frames, pair by pair from one record; `moving` is where either shows the moving figure."""

    source: UInt8[np.ndarray, "n h w 3"]
    driving: UInt8[np.ndarray, "n h w 3"]
    moving: Bool[np.ndarray, "n h w"] | None


def pairs(records_of_split: TFRecordSource, *, number: int, size: int, seed: int) -> HeldOut:
    """`number` pairs of distinct frames, of records spread evenly over the split; a function of the arguments alone.

    `moving` is None unless the records carry silhouettes (puppets do).

    Raises:
        ValueError: there are no records, or one that is used has a single frame or frames that are not square.
    """
    count = len(records_of_split)
    if not count:
        raise ValueError("the held-out split has no records")
    sources: list[np.ndarray] = []
    drivings: list[np.ndarray] = []
    regions: list[np.ndarray] = []
    for pair, i in enumerate(np.linspace(0, count, number, endpoint=False).astype(int)):
        record = records.decode(records_of_split[i])
        if len(record.frames) < 2:
            raise ValueError(f"held-out record {record.id} has {len(record.frames)} frame, a pair needs 2")
        rng = np.random.Generator(np.random.Philox(key=[seed, pair]))
        s, d = rng.choice(len(record.frames), size=2, replace=False)
        for frames, t in ((sources, s), (drivings, d)):
            frames.append(_decoded(record.frames[t], size))
        if "silhouette" in record.extras:
            silhouette = unpack_silhouette(record.extras["silhouette"], record.height, record.width)
            region = (silhouette[s] | silhouette[d]).astype(np.uint8)
            regions.append(cv2.resize(region, (size, size), interpolation=cv2.INTER_NEAREST).astype(bool))
    moving = np.stack(regions) if len(regions) == number else None
    return HeldOut(np.stack(sources), np.stack(drivings), moving)


def _decoded(frame: bytes, size: int) -> UInt8[np.ndarray, "s s 3"]:
    out = np.empty((size, size, 3), np.uint8)
    augment.decode(frame, out)
    return out
