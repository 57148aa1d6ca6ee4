"""Prepared data as a TensorFlow Datasets (TFDS) data set, for those who work with `tfds`; it needs no TensorFlow.

    from leo_jax.data.tfds_builder import builder

    made = builder("data/taichi", data_dir="tfds")
    made.download_and_prepare()
    train = tfds.data_source("leo_videos/taichi", split="train", data_dir="tfds")

An example has `id`, `source`, `fps`, `start`, `end` and `frames`. Of a record it leaves out `split` (TFDS's own split says it),
`height` and `width` (the frames' shape) and `extra/` (puppets' ground truth, `chunk`): `leo_jax.data.records.decode` reads those.

Frames are copied as they are encoded, into array_record files. TFDS imports this module's class nowhere: to read the
result, the last line is enough.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from leo_jax.data import manifest, records
from leo_jax.data.source import open_split
from leo_jax.files import PathLike


class LeoVideos(tfds.core.GeneratorBasedBuilder):
    """The records of one prepared data set; its config has the data set's name."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Written from leo_jax video records, version 1."}  # noqa: RUF012  TFDS's name and type
    SKIP_REGISTRATION = True

    def __init__(self, *, prepared: str, **arguments: Any):
        """`prepared` is the folder that `leo prepare` wrote; the rest goes to TFDS."""
        self._prepared = prepared
        super().__init__(**arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        size = _sizes(self._prepared)
        features = tfds.features.FeaturesDict(
            {
                "id": tfds.features.Text(),
                "source": tfds.features.Text(),
                "fps": np.float32,
                "start": np.int64,
                "end": np.int64,
                "frames": tfds.features.Sequence(tfds.features.Image(shape=(*size, 3))),
            }
        )
        description = "Video clips prepared by leo_jax. `start` and `end` count the frames of the `source` video."
        return tfds.core.DatasetInfo(builder=self, description=description, features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, dict]]]:
        return {split: self._generate_examples(split) for split in _found(self._prepared).splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        source = open_split(self._prepared, split)
        for i in range(len(source)):
            record = records.decode(source[i])
            yield (
                f"{i:08d} {record.id}",
                {
                    **{name: getattr(record, name) for name in ("id", "source", "start", "end")},
                    "fps": np.float32(record.fps),
                    "frames": [io.BytesIO(frame) for frame in record.frames],
                },
            )


def builder(prepared: PathLike, data_dir: PathLike | None = None) -> LeoVideos:
    """The TFDS builder of a prepared folder; `data_dir` is where it writes (default: TFDS's own).

    Raises ValueError when the folder is no prepared data set.
    """
    name = _found(str(prepared)).name
    config = tfds.core.BuilderConfig(name=name, version="1.0.0", description=f"The data set {name!r}.")
    return LeoVideos(
        prepared=str(prepared),
        config=config,
        data_dir=None if data_dir is None else str(data_dir),
        file_format="array_record",
    )


def _found(prepared: str) -> manifest.Manifest:
    found = manifest.load(prepared)
    if found is None:
        raise ValueError(f"{prepared} has no {manifest.FILE}: not a prepared data set")
    return found


def _sizes(prepared: str) -> tuple[int | None, int | None]:
    """Height and width of all frames; None where they differ."""
    sizes = {
        tuple(int(n) for n in size.split("x")) for split in _found(prepared).splits.values() for size in split.sizes
    }
    heights, widths = ({size[axis] for size in sizes} for axis in (0, 1))
    return heights.pop() if len(heights) == 1 else None, widths.pop() if len(widths) == 1 else None
