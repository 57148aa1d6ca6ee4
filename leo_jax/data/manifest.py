"""`manifest.json` of a prepared data set: what was made, with which options, and the hash of every shard."""

import dataclasses
import json
from typing import Any

from leo_jax import files
from leo_jax.data import storage
from leo_jax.files import PathLike

FILE = "manifest.json"
FORMAT = "leo_jax video records, version 1"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished TFRecord file; `skipped` lists [item, reason] of the bad input that would have gone into it."""

    file: str
    records: int
    frames: int
    bytes: int
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """One split: its shards in order, the frames' sizes found in it as "HxW", and the options that made it."""

    shards: tuple[Shard, ...]
    sizes: tuple[str, ...]
    options: dict[str, Any]

    @property
    def records(self) -> int:
        """Number of records (a long video gives several)."""
        return sum(shard.records for shard in self.shards)

    @property
    def frames(self) -> int:
        """Number of frames in all records."""
        return sum(shard.frames for shard in self.shards)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """[item, reason] of everything left out."""
        return tuple(entry for shard in self.shards for entry in shard.skipped)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A data set: its name and its splits."""

    name: str
    splits: dict[str, Split]


def load(directory: PathLike) -> Manifest | None:
    """The manifest of a local or remote data set, or None where there is none. ValueError if it is not one of ours."""
    path = storage.join(directory, FILE)
    try:
        content = json.loads(storage.read_bytes(path))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')!r}, this version reads {FORMAT!r}")
    return Manifest(content["name"], {name: _split(value) for name, value in content["splits"].items()})


def save(manifest: Manifest, directory: PathLike) -> None:
    """Writes manifest.json, whole or not at all; totals are written for people, and computed again when loaded."""
    splits = {
        name: {"records": split.records, "frames": split.frames, **dataclasses.asdict(split)}
        for name, split in manifest.splits.items()
    }
    content = {"format": FORMAT, "name": manifest.name, "splits": splits}
    files.atomic_write(storage.join(directory, FILE), json.dumps(content, indent=1) + "\n")


def shard_from_json(value: dict[str, Any]) -> Shard:
    """A Shard from its JSON form (`dataclasses.asdict`)."""
    skipped = tuple((item, reason) for item, reason in value["skipped"])
    return Shard(**{**value, "skipped": skipped})


def _split(value: dict[str, Any]) -> Split:
    shards = tuple(shard_from_json(shard) for shard in value["shards"])
    return Split(shards=shards, sizes=tuple(value["sizes"]), options=value["options"])
