"""Makes records out of items and writes them as shards: in parallel, in a fixed order, restartable after a kill.

A shard is finished when its file, its index and its note (`SHARD.json`) are there; the note is written last. Running
the same command again keeps finished shards and makes the others.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from leo_jax import files
from leo_jax.data import manifest, records, tfrecord
from leo_jax.data.workers import end_with_parent
from leo_jax.files import PathLike
from leo_jax.progress import Bar, progress_bar
from leo_jax.video import BadVideo

Make = Callable[[Any], list[records.VideoRecord]]
_ITEMS_PER_SHARD = 64
_MAX_SHARDS = 256


@dataclasses.dataclass(frozen=True)
class Made:
    """A record ready to be written: its bytes, its frames' places in them, and their size."""

    data: bytes
    frames: list[tuple[int, int, int]]
    size: str


def write_dataset(
    out: PathLike,
    name: str,
    split: str,
    items: Sequence[Any],
    make: Make,
    *,
    num_shards: int | None = None,
    workers: int = 0,
    options: dict[str, Any] | None = None,
    skip_bad: bool = False,
    progress: bool = True,
    state: Callable[[Any], Any] | None = None,
) -> manifest.Manifest:
    """Writes `make(item)` of every item, in order, to `{name}-{split}-*.tfrecord` in `out`; returns the manifest.

    Args:
      out: local directory; other splits of the same data set may lie there already.
      name: the data set's name.
      split: the split's name.
      items: anything whose repr tells it apart; picklable if there are workers.
      make: gives an item's records; a module-level function (or a partial of one) if there are workers.
      num_shards: default one for each 64 items, at most 256.
      workers: processes that run `make`; 0 runs it in this one. The files are the same for any number.
      options: what the result depends on, as JSON; shards made with other options are not mixed with these.
      skip_bad: items whose `make` raises BadVideo are left out and listed in the manifest, rather than raised. Without it,
        shards that lack items are made again.
      progress: whether to draw a bar.
      state: what tells whether an item's input has changed (its size, say); shards of changed items are made again.

    Raises:
      ValueError: `out` is a URL, holds shards of other options, items or another data set, or is being written by somebody else.
      BadVideo: from `make`. Shards finished before stay, and the next run keeps them.
    """
    if not items:
        raise ValueError(f"split {split!r} of {name} has no items")
    files.check_local(out, "write a local one and copy it as it is, as with `gcloud storage cp --recursive`")
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    num_shards = min(num_shards or min(-(-len(items) // _ITEMS_PER_SHARD), _MAX_SHARDS), len(items))
    bounds = [len(items) * i // num_shards for i in range(num_shards + 1)]
    paths = [out / f"{name}-{split}-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    parts = [items[start:end] for start, end in itertools.pairwise(bounds)]
    options = json.loads(json.dumps(options or {}))
    with only_writer(out):
        check_belongs(out, name, split, paths)
        states = [_identity([state(item) for item in part]) if state else "" for part in parts]
        kept = [finished(path, part, options) for path, part in zip(paths, parts, strict=True)]
        kept = [note if note and _stands(note, now, skip_bad) else None for note, now in zip(kept, states, strict=True)]
        todo = [part for part, note in zip(parts, kept, strict=True) if note is None]
        made = _run(make, [item for part in todo for item in part], workers, skip_bad)
        done = sum(len(part) for part in parts) - sum(len(part) for part in todo)
        with (
            contextlib.closing(made),
            progress_bar(len(items), f"{name} {split}", "item", initial=done, shown=progress) as bar,
        ):
            notes = [
                note or write_shard(path, part, options, made, bar, now)
                for path, part, note, now in zip(paths, parts, kept, states, strict=True)
            ]
        return update_manifest(out, name, split, notes, options)


def _run(make: Make, items: list[Any], workers: int, skip_bad: bool) -> Generator[list[Made] | BadVideo, None, None]:
    """`make` of each item in order; with workers, a few items ahead. BadVideo is yielded if `skip_bad`, else raised."""
    if not workers or not items:
        for item in items:
            yield _make(make, skip_bad, item)
        return
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=end_with_parent
    )
    try:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for item in items:
            waiting.append(pool.submit(_make, make, skip_bad, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(make: Make, skip_bad: bool, item: Any) -> list[Made] | BadVideo:
    try:
        made = make(item)
    except BadVideo as error:
        if skip_bad:
            return error
        raise
    return [pack(record) for record in made]


def pack(record: records.VideoRecord) -> Made:
    """A record's bytes and what the index has to know of them."""
    data = records.encode(record)
    return Made(data, tfrecord.frame_table(data, record.frames), f"{record.height}x{record.width}")


def write_shard(
    path: pathlib.Path,
    items: Sequence[Any],
    options: dict[str, Any],
    made: Iterator[Iterable[Made] | BadVideo],
    bar: Bar | None = None,
    state: str = "",
) -> dict[str, Any]:
    """Takes the results for `items` from `made`, writes the shard, its index and its note, and returns the note."""
    builder, size, digest = tfrecord.IndexBuilder(), 0, hashlib.sha256()
    sizes: set[str] = set()
    skipped: list[tuple[str, str]] = []
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        for _ in items:
            result = next(made)
            if isinstance(result, BadVideo):
                skipped.append((result.name, result.reason))
                result = []
            for record in result:
                builder.add(size + tfrecord.HEADER, len(record.data), record.frames)
                framed = tfrecord.frame_record(record.data)
                file.write(framed)
                digest.update(framed)
                size += len(framed)
                sizes.add(record.size)
            if bar is not None:
                bar.update()
        _note_path(path).unlink(missing_ok=True)  # of an older shard, which this one replaces
    builder.index(size).save(tfrecord.index_path(str(path)))
    shard = manifest.Shard(
        path.name, len(builder.records), len(builder.frames), size, digest.hexdigest(), tuple(skipped)
    )
    note = {
        "shard": dataclasses.asdict(shard),
        "sizes": sorted(sizes),
        "options": options,
        "items": _identity(items),
        "state": state,
    }
    files.atomic_write(_note_path(path), json.dumps(note, indent=1) + "\n")
    return note


def finished(path: pathlib.Path, items: Sequence[Any], options: dict[str, Any]) -> dict[str, Any] | None:
    """The note of a shard that is whole, or None. Raises ValueError if it was made of other items or options."""
    if not (_note_path(path).exists() and path.exists() and os.path.exists(tfrecord.index_path(str(path)))):
        return None
    note = json.loads(_note_path(path).read_text())
    advice = f"give the same options and input, another --out, or delete {path.parent}"
    if note["options"] != options:
        keys = sorted(set(note["options"]) | set(options))
        changed = [f"{k}: {note['options'].get(k)!r} then, {options.get(k)!r} now" for k in keys]
        changed = [line for line, k in zip(changed, keys, strict=True) if note["options"].get(k) != options.get(k)]
        raise ValueError(f"{path} was made with other options ({'; '.join(changed)}): {advice}")
    if note["items"] != _identity(items):
        raise ValueError(f"{path} was made from other input (files were added, removed or renamed since): {advice}")
    return note if path.stat().st_size == note["shard"]["bytes"] else None


def _stands(note: dict[str, Any], state: str, skip_bad: bool) -> bool:
    """Whether a whole shard need not be made again: its input is as it was, and it lacks nothing, or may."""
    return note.get("state", state) == state and (skip_bad or not note["shard"]["skipped"])


def check_belongs(out: pathlib.Path, name: str, split: str, paths: list[pathlib.Path]) -> None:
    """Removes leftovers of killed runs; raises ValueError if `out` holds another data set or another sharding."""
    found = manifest.load(out)
    if found is not None and found.name != name:
        raise ValueError(f"{out} holds the data set {found.name!r}, not {name!r}: give another --out")
    expected = {_note_path(path).name for path in paths}
    others = sorted(p.name for p in out.glob(f"{name}-{split}-*-of-*.tfrecord.json") if p.name not in expected)
    if others:
        raise ValueError(f"{out} holds {others[0]} and the like, now {len(paths)} shards are asked for: give the same "
                         f"input and number of shards, another --out, or delete {out}")  # fmt: skip
    files.remove_leftovers(out)


def update_manifest(
    out: pathlib.Path, name: str, split: str, notes: list[dict[str, Any]], options: dict[str, Any]
) -> manifest.Manifest:
    """Writes the manifest with `split` made of the shards that `notes` describe, beside the splits it had."""
    found = manifest.load(out) or manifest.Manifest(name, {})
    shards = tuple(manifest.shard_from_json(note["shard"]) for note in notes)
    sizes = tuple(sorted({size for note in notes for size in note["sizes"]}))
    updated = manifest.Manifest(name, {**found.splits, split: manifest.Split(shards, sizes, options)})
    manifest.save(updated, out)
    return updated


@contextlib.contextmanager
def only_writer(out: pathlib.Path) -> Iterator[None]:
    """Holds a lock on the directory (the system drops it if we are killed). Raises ValueError if somebody else does."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(f"another process is writing {out}: wait for it, or give another --out") from error
    finally:
        os.close(descriptor)


def _note_path(shard: pathlib.Path) -> pathlib.Path:
    return shard.with_name(f"{shard.name}.json")


def _identity(items: Sequence[Any]) -> str:
    """A hash that tells one list of items from another."""
    return hashlib.sha256("\n".join(repr(item) for item in items).encode()).hexdigest()
