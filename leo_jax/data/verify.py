"""Every byte of a prepared data set against its manifest, its checksums and its index."""

import hashlib
from collections.abc import Iterator

import numpy as np

from leo_jax.data import manifest, storage, tfrecord
from leo_jax.data.source import TFRecordSource, open_split
from leo_jax.files import PathLike
from leo_jax.progress import Bar, progress_bar

_PART = 1 << 22  # bytes read at a time


def check_quickly(directory: PathLike) -> None:
    """What can be seen without reading the shards: they, their indices and the manifest are there and of one piece.

    Raises:
        ValueError: they are not; names the shard and the way out. A folder without a manifest is no concern of this.
    """
    found = manifest.load(directory)
    for split in found.splits if found is not None else ():
        open_split(directory, split)


def verify(directory: PathLike, *, progress: bool = True) -> list[str]:
    """Reads all shards and returns what is wrong with them, a line each; empty if all is well.

    Of each shard: its size and SHA-256 as in the manifest, the checksums of all records, and of all frames where its index
    says they are. `directory` may be remote.

    Raises:
        ValueError: it is no prepared data set.
    """
    found = manifest.load(directory)
    if found is None:
        raise ValueError(f"{directory} has no {manifest.FILE}: not a prepared data set, or its preparation was cut off")
    shards = [shard for split in found.splits.values() for shard in split.shards]
    with progress_bar(sum(shard.bytes for shard in shards), "verify", "B", shown=progress) as bar:
        return [line for shard in shards for line in _problems(storage.join(directory, shard.file), shard, bar)]


def _problems(path: str, shard: manifest.Shard, bar: Bar) -> Iterator[str]:
    try:
        digest, size = _digest(path, bar)
    except FileNotFoundError:
        yield f"{path} is missing: copy it again, or prepare the data again"
        return
    if size != shard.bytes:
        yield f"{path} has {size} bytes, {shard.bytes} in the manifest: copy it again"
    elif digest != shard.sha256:
        yield f"{path} is not the shard of the manifest: its SHA-256 is {digest}, {shard.sha256} there; copy it again"
    try:
        source = TFRecordSource([path])
    except ValueError as error:
        yield str(error)
        return
    if len(source) != shard.records:
        yield f"{path} has {len(source)} records by its index, {shard.records} in the manifest: copy both again"
    for i, count in enumerate(source.frame_counts):
        yield from _record_problems(source, i, int(count))


def _record_problems(source: TFRecordSource, i: int, count: int) -> Iterator[str]:
    try:
        source[i]
        if count:
            source.frames(i, 0, count)
    except tfrecord.DamagedRecord as error:
        yield str(error)


def _digest(path: str, bar: Bar) -> tuple[str, int]:
    """(SHA-256, length) of a local or remote file."""
    reader, digest, size = storage.RangeReader(), hashlib.sha256(), storage.size(path)
    for offset in np.arange(0, size, _PART).tolist():
        digest.update(part := reader.read(path, offset, min(_PART, size - offset)))
        bar.update(len(part))
    return digest.hexdigest(), size
