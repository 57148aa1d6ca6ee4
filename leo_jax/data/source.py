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
    read without the rest of its record, and `source.frame_counts[i]` the number of its frames; `source.first_frames[i]` of
    the split's frames come before them. It can be pickled: files are opened where it is used.
    """

    def __init__(self, paths: Sequence[PathLike]):
        """Opens the shards' indices. Raises ValueError when one is missing or does not fit its shard."""
        self.paths = tuple(os.fspath(path) for path in paths)
        self.indices = tuple(tfrecord.load_index(path) for path in self.paths)
        self._starts = [0, *itertools.accumulate(len(index.offsets) for index in self.indices)]
        counts = [np.diff(index.first_frame) for index in self.indices]
        self.frame_counts: Int64[np.ndarray, " n"] = np.concatenate([np.zeros(0, np.int64), *counts])
        self.first_frames: Int64[np.ndarray, " n+1"] = np.concatenate([[0], np.cumsum(self.frame_counts)])
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
        return self.frames(i, t, 1)[0]

    def frames(self, i: SupportsIndex, start: SupportsIndex, count: int) -> list[bytes]:
        """Encoded frames `start` to `start` + `count` - 1 of record i, in one read; raises as `frame` does."""
        shard, row = self.locate(i)
        index, path = self.indices[shard], self.paths[shard]
        start = operator.index(start)
        first, end = int(index.first_frame[row]), int(index.first_frame[row + 1])
        if not (0 <= start and 0 < count <= end - first - start):
            wanted = f"frame {start}" if count == 1 else f"frames {start} to {start + count - 1}"
            raise IndexError(f"{path}, record {row} has no {wanted}")
        rows = slice(first + start, first + start + count)
        offsets, lengths, crcs = (
            a[rows].tolist() for a in (index.frame_offsets, index.frame_lengths, index.frame_crcs)
        )
        content = self._reader.read(path, offsets[0], offsets[-1] + lengths[-1] - offsets[0])
        frames = []
        for t, (offset, length, crc) in enumerate(zip(offsets, lengths, crcs, strict=True), start):
            encoded = content[offset - offsets[0] : offset - offsets[0] + length]
            if len(encoded) != length or tfrecord.masked_crc(encoded) != crc:
                raise tfrecord.DamagedRecord(
                    f"{path}, record {row}, frame {t} (byte {offset}): checksum mismatch, the bytes were changed after "
                    "writing or the file is cut short; copy the shard again or prepare it again"
                )
            frames.append(encoded)
        return frames

    def place(self, n: SupportsIndex) -> tuple[int, int]:
        """(record, frame in it) of frame n, counted over all records."""
        n = operator.index(n)
        if not 0 <= n < self.first_frames[-1]:
            raise IndexError(f"frame {n} of {self.first_frames[-1]}")
        i = int(np.searchsorted(self.first_frames, n, "right")) - 1
        return i, n - int(self.first_frames[i])

    def locate(self, i: SupportsIndex) -> tuple[int, int]:
        """(number of the shard, record's number inside it) of record i."""
        i = operator.index(i)
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        shard = bisect.bisect_right(self._starts, i) - 1
        return shard, i - self._starts[shard]


def open_split(directory: PathLike, split: str) -> TFRecordSource:
    """The records of one split of a prepared data set.

    Raises ValueError when `directory` is no finished data set or has no such split, and when a shard or its index is not
    there, is cut short, or is not the one of the manifest.
    """
    directory = os.fspath(directory)
    found = manifest.load(directory)
    if found is None:
        raise ValueError(f"{directory} has no {manifest.FILE}: not a prepared data set, or `leo prepare` was cut off "
                         "(run it again, it goes on where it stopped)")  # fmt: skip
    if split not in found.splits:
        raise ValueError(f"{directory} has no split {split!r}; it has {sorted(found.splits)}")
    shards = found.splits[split].shards
    source = TFRecordSource([storage.join(directory, shard.file) for shard in shards])
    for path, index, shard in zip(source.paths, source.indices, shards, strict=True):
        if (index.size, len(index.offsets)) != (shard.bytes, shard.records):
            raise ValueError(
                f"{path} has changed since {manifest.FILE} was written: {len(index.offsets)} records in {index.size} bytes, "
                f"{shard.records} in {shard.bytes} there; copy the whole folder again, or prepare the data again"
            )
    return source
