"""Random access to prepared video: any record, or any single frame, checked against its CRC on every read."""

import bisect
import itertools
import operator
import os
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64

from leo_jax.data import manifest, storage, tfrecord
from leo_jax.files import PathLike


class TFRecordSource:
    """The records of several TFRecord shards as one sequence, local or remote (`gs://…`).

    `source[i]` is a record's serialized bytes (`records.decode` reads them); `source.frame(i, t)` is one encoded frame,
    read without the rest of its record, and `source.frame_counts[i]` the number of its frames. It can be pickled: files
    are opened where it is used.
    """

    def __init__(self, paths: Sequence[PathLike]):
        """Opens the shards' indices. Raises ValueError when one is missing or does not fit its shard."""
        self.paths = tuple(os.fspath(path) for path in paths)
        self.indices = tuple(tfrecord.load_index(path) for path in self.paths)
        self._starts = [0, *itertools.accumulate(len(index.offsets) for index in self.indices)]
        counts = [np.diff(index.first_frame) for index in self.indices]
        self.frame_counts: Int64[np.ndarray, " n"] = np.concatenate([np.zeros(0, np.int64), *counts])
        self._reader = storage.RangeReader()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, i: SupportsIndex) -> bytes:
        """The bytes of record i. Raises DamagedRecord naming shard and record, IndexError outside [0, len)."""
        shard, row = self.locate(i)
        index, path = self.indices[shard], self.paths[shard]
        offset, length = int(index.offsets[row]) - tfrecord.HEADER, int(index.lengths[row])
        framed = self._reader.read(path, offset, length + tfrecord.HEADER + tfrecord.FOOTER)
        return tfrecord.unframe_record(framed, length, f"{path}, record {row} (byte {offset})")

    def frame(self, i: SupportsIndex, t: SupportsIndex) -> bytes:
        """Encoded frame t of record i. Raises DamagedRecord as `source[i]` does, IndexError when there is no such."""
        shard, row = self.locate(i)
        index, path = self.indices[shard], self.paths[shard]
        t = operator.index(t)
        at = int(index.first_frame[row]) + t
        if not 0 <= t < index.first_frame[row + 1] - index.first_frame[row]:
            raise IndexError(f"{path}, record {row} has no frame {t}")
        offset, length = int(index.frame_offsets[at]), int(index.frame_lengths[at])
        encoded = self._reader.read(path, offset, length)
        if len(encoded) != length or tfrecord.masked_crc(encoded) != index.frame_crcs[at]:
            raise tfrecord.DamagedRecord(
                f"{path}, record {row}, frame {t} (byte {offset}): checksum mismatch, the bytes were changed after "
                "writing or the file is cut short; copy the shard again or prepare it again"
            )
        return encoded

    def locate(self, i: SupportsIndex) -> tuple[int, int]:
        """(number of the shard, record's number inside it) of record i."""
        i = operator.index(i)
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._starts, i) - 1
        return shard, i - self._starts[shard]


def open_split(directory: PathLike, split: str) -> TFRecordSource:
    """The records of one split of a prepared data set.

    Raises ValueError when `directory` is no finished data set or has no such split.
    """
    directory = os.fspath(directory)
    found = manifest.load(directory)
    if found is None:
        raise ValueError(f"{directory} has no {manifest.FILE}: not a prepared data set, or `leo prepare` was cut off "
                         "(run it again, it goes on where it stopped)")  # fmt: skip
    if split not in found.splits:
        raise ValueError(f"{directory} has no split {split!r}; it has {sorted(found.splits)}")
    return TFRecordSource([storage.join(directory, shard.file) for shard in found.splits[split].shards])
