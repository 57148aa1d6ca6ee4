"""The TFRecord container, and the index beside each shard that makes it random-access.

A record in the file: length (uint64 LE), masked CRC of the length, the data, masked CRC of the data. The index
(`SHARD.tfrecord.index`, itself one record: an .npz of plain numbers) says where each record and each of its frames
lies, with a CRC per frame: two frames of a long record can then be read, and checked, without reading the rest.
"""

import dataclasses
import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import numpy as np
from jaxtyping import Int64, UInt32

from leo_jax import files
from leo_jax.data import records, storage

HEADER = 12  # bytes before a record's data: its length and that length's CRC
FOOTER = 4  # bytes after: the data's CRC


class DamagedRecord(ValueError):
    """A record whose bytes do not match their checksum, or that the file cuts short."""


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated and offset as TFRecord wants it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """`data` as one record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def unframe_record(framed: bytes, length: int, where: str) -> bytes:
    """The data of a framed record of `length` data bytes. Raises DamagedRecord, naming `where`, if a CRC differs."""
    advice = "copy the shard again from where it came, or delete it with its .json and run `leo prepare` again"
    if len(framed) != length + HEADER + FOOTER or length < 0:
        raise DamagedRecord(f"{where}: the file ends inside the record; {advice}")
    stored_length, length_crc = struct.unpack_from("<QI", framed)
    data = framed[HEADER:-FOOTER]
    (data_crc,) = struct.unpack_from("<I", framed, len(framed) - FOOTER)
    if stored_length != length or masked_crc(framed[:8]) != length_crc or masked_crc(data) != data_crc:
        raise DamagedRecord(f"{where}: checksum mismatch, the bytes were changed after writing; {advice}")
    return data


@dataclasses.dataclass(frozen=True)
class Index:
    """Where the records and frames of one shard lie; n records, f frames in all.

    `offsets` and `lengths` are of the records' data (after the 12-byte header); the frames of record i are
    `first_frame[i]` up to `first_frame[i + 1]`, their offsets counted from the file's start. `size` is the shard's.
    """

    size: int
    offsets: Int64[np.ndarray, " n"]
    lengths: Int64[np.ndarray, " n"]
    first_frame: Int64[np.ndarray, " n+1"]
    frame_offsets: Int64[np.ndarray, " f"]
    frame_lengths: Int64[np.ndarray, " f"]
    frame_crcs: UInt32[np.ndarray, " f"]

    def save(self, path: str) -> None:
        """Writes the index, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dataclasses.asdict(self))
        files.atomic_write(path, frame_record(buffer.getvalue()))


def index_path(shard: str) -> str:
    """The index's path, given the shard's."""
    return f"{shard}.index"


def load_index(shard: str) -> Index:
    """The index beside `shard` (local or remote). Raises ValueError when it is missing, damaged or of another shard."""
    path = index_path(shard)
    advice = f"rebuild it with `leo reindex {shard}`"
    try:
        content = storage.read_bytes(path)
        content = unframe_record(content, len(content) - HEADER - FOOTER, path)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            values = {field.name: arrays[field.name] for field in dataclasses.fields(Index)}
    except FileNotFoundError as error:
        raise ValueError(f"{shard} has no index ({path}): {advice}") from error
    except (DamagedRecord, KeyError) as error:
        raise ValueError(f"{path} is damaged or of another version: {advice}") from error
    index = Index(**{**values, "size": int(values["size"])})
    try:
        actual = storage.size(shard)
    except FileNotFoundError as error:
        raise ValueError(
            f"{shard} is missing, only its index is there: copy it again, or prepare the data again"
        ) from error
    if actual != index.size:
        raise ValueError(f"{shard} has {actual} bytes, its index was made for {index.size}: the shard is cut short or "
                         f"another one; copy both again, or {advice}")  # fmt: skip
    return index


class IndexBuilder:
    """Collects an Index record by record."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int]] = []
        self.frame_counts: list[int] = []
        self.frames: list[tuple[int, int, int]] = []

    def add(self, offset: int, length: int, frames: list[tuple[int, int, int]]) -> None:
        """Notes a record of `length` data bytes from byte `offset`, and its frames as `frame_table` gives them."""
        self.records.append((offset, length))
        self.frame_counts.append(len(frames))
        self.frames += [(offset + start, size, crc) for start, size, crc in frames]

    def index(self, size: int) -> Index:
        """The index of a shard of `size` bytes with the records added so far."""
        offsets, lengths = _columns(self.records, 2)
        frame_offsets, frame_lengths, crcs = _columns(self.frames, 3)
        first_frame = np.cumsum([0, *self.frame_counts], dtype=np.int64)
        return Index(size, offsets, lengths, first_frame, frame_offsets, frame_lengths, crcs.astype(np.uint32))


def frame_table(data: bytes, frames: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """(offset in `data`, length, masked CRC) of each encoded frame of a serialized record."""
    spans = records.frame_spans(data, frames)
    return [(*span, masked_crc(frame)) for span, frame in zip(spans, frames, strict=True)]


def scan(shard: str) -> Iterator[tuple[int, bytes]]:
    """(offset of the data, data) of each record of a local shard in turn, every CRC checked, without an index."""
    with open(shard, "rb") as file:
        position, number = 0, 0
        while header := file.read(HEADER):
            where = f"{shard}, record {number} (byte {position})"
            if len(header) < HEADER or masked_crc(header[:8]) != struct.unpack_from("<I", header, 8)[0]:
                raise DamagedRecord(f"{where}: the record's length is damaged, nothing after it can be read")
            (length,) = struct.unpack_from("<Q", header)
            yield position + HEADER, unframe_record(header + file.read(length + FOOTER), length, where)
            position += length + HEADER + FOOTER
            number += 1


def reindex(shard: str) -> Index:
    """Rebuilds and writes the index of a local shard by reading all of it. Raises DamagedRecord."""
    builder, size = IndexBuilder(), 0
    for offset, data in scan(shard):
        builder.add(offset, len(data), frame_table(data, records.decode(data).frames))
        size = offset + len(data) + FOOTER
    index = builder.index(size)
    index.save(index_path(shard))
    return index


def _columns(rows: list[tuple[Any, ...]], width: int) -> Int64[np.ndarray, "width n"]:
    return np.asarray(rows, np.int64).reshape(-1, width).T.copy()
