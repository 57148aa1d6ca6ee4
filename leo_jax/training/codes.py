"""Stage 2's data: E over every frame of a data set, written as records of codes (SPEC §2).

Each shard of the data becomes one shard of codes, by one process; a process's devices share each batch. Which frames a
device is given together follows from the shard alone, so the codes do not depend on the number of devices or processes.
`begin` on one process, then `write` on all, then `finish` on one; finished shards are kept.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from leo_jax import files, processes, weights
from leo_jax.data import augment, codes, manifest, records, storage, writing
from leo_jax.data.source import TFRecordSource, open_split
from leo_jax.models.animator import Animator
from leo_jax.models.apply import apply
from leo_jax.progress import Bar, progress_bar
from leo_jax.training.animator import to_float
from leo_jax.training.state import PyTree, along_batch, replicated

STATISTICS, SUMMARY = "statistics.npz", "codes.json"
VERSION = 1  # part of the shards' options: raise it when the same frames and animator give other codes
UNDER_WAY = 2  # batches that the devices may have before them


def encode_step(animator: Animator, mesh: Mesh) -> jax.stages.Wrapped:
    """The jitted (parameters, images) → codes, shared out over the mesh."""

    @functools.partial(jax.jit, out_shardings=along_batch(mesh))
    def encode(params: PyTree, images: UInt8[Array, "b h w 3"]) -> Array:
        return apply(animator, params, to_float(images), method="codes")

    return encode


class Encoder:
    """E on all devices of a mesh: encoded frames in, codes out, decoding in threads while the devices work.

    Args:
        animator: the module.
        params: its parameters.
        mesh: devices of this process.
        per_device: frames that a device takes at a time.
        threads: that decode; default the number of cores, at most 16.
    """

    def __init__(
        self, animator: Animator, params: PyTree, mesh: Mesh, *, per_device: int, threads: int | None = None
    ) -> None:
        self.size = animator.size
        self.code_dim = animator.code_dim
        self._mesh, self._per_device = mesh, per_device
        self._params = jax.device_put(params, replicated(mesh))
        self._threads = threads or min(16, processes.cores())
        self._encode = encode_step(animator, mesh)

    def __call__(self, frames: Iterable[bytes]) -> Iterator[Float[np.ndarray, "k d"]]:
        """The codes of encoded frames, in order, some at a time."""
        waiting: collections.deque[tuple[Array, int]] = collections.deque()
        groups = self._decoded(frames)
        while parts := list(itertools.islice(groups, self._mesh.size)):
            images, count = np.concatenate(parts), sum(map(len, parts))
            missing = self._mesh.size * self._per_device - count
            images = np.concatenate([images, images[-1:].repeat(missing, 0)]) if missing else images
            waiting.append((self._encode(self._params, jax.device_put(images, along_batch(self._mesh))), count))
            if len(waiting) > UNDER_WAY:
                yield _first(*waiting.popleft())
        while waiting:
            yield _first(*waiting.popleft())

    def _decoded(self, frames: Iterable[bytes]) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
        """Groups of `per_device` pictures, the last one smaller; decoded some groups ahead."""
        frames = iter(frames)
        ahead = self._threads + UNDER_WAY * self._mesh.size
        with concurrent.futures.ThreadPoolExecutor(self._threads) as pool:
            waiting: collections.deque[concurrent.futures.Future] = collections.deque()
            while group := list(itertools.islice(frames, self._per_device)):
                waiting.append(pool.submit(self._decode, group))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _decode(self, group: list[bytes]) -> UInt8[np.ndarray, "k h w 3"]:
        images = np.empty((len(group), self.size, self.size, 3), np.uint8)
        for frame, out in zip(group, images, strict=True):
            augment.decode(frame, out)
        return images


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard of the data and the shard of its codes."""

    name: str  # the data set's
    split: str
    source: str
    path: pathlib.Path
    frames: int
    identity: tuple[str, str]  # the source's name and SHA-256


def plan(data: files.PathLike, out: files.PathLike) -> list[Job]:
    """What there is to do, in order. Raises ValueError unless `data` is a prepared data set with a split 'train'."""
    found = manifest.load(data)
    if found is None or "train" not in found.splits:
        raise ValueError(f"{data} is no prepared data set with a split 'train'")
    jobs = []
    for split, content in found.splits.items():
        for i, shard in enumerate(content.shards):
            path = pathlib.Path(out) / f"{found.name}-{split}-{i:05d}-of-{len(content.shards):05d}.tfrecord"
            place = storage.join(data, shard.file)
            jobs.append(Job(found.name, split, place, path, shard.frames, (shard.file, shard.sha256)))
    return jobs


def options(animator: str, size: int) -> dict[str, Any]:
    """What the codes depend on besides the frames: the SHA-256 of the animator's file, and the pictures' size."""
    return {"animator": animator, "size": size, "version": VERSION}


def begin(data: files.PathLike, out: files.PathLike) -> None:
    """Makes `out` and clears it of what a killed run was writing. Before any process writes."""
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for (name, split), jobs in itertools.groupby(plan(data, out), key=lambda job: (job.name, job.split)):
        writing.check_belongs(out, name, split, [job.path for job in jobs])


def write(
    encoder: Encoder,
    data: files.PathLike,
    out: files.PathLike,
    options: dict[str, Any],
    *,
    process_index: int = 0,
    process_count: int = 1,
    progress: bool = True,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Writes this process's shards that are not there yet: every `process_count`-th one. `check` may end it by raising.

    Raises:
        ValueError: `out` holds shards of another animator or of other data; a frame cannot be decoded.
    """
    jobs = plan(data, out)[process_index::process_count]
    todo = [job for job in jobs if writing.finished(job.path, [job.identity], options) is None]
    total, left = (sum(job.frames for job in some) for some in (jobs, todo))
    with progress_bar(total, "codes", "frame", initial=total - left, shown=progress) as bar:
        for job in todo:
            made = _records(encoder, TFRecordSource([job.source]), bar, check)
            writing.write_shard(job.path, [job.identity], options, iter([made]))


def finish(data: files.PathLike, out: files.PathLike, options: dict[str, Any]) -> manifest.Manifest:
    """Writes manifest, statistics.npz ({'mean', 'std'} over all training frames) and codes.json when all shards are there.

    Raises:
        ValueError: a shard is missing.
    """
    out, made = pathlib.Path(out), None
    for (name, split), jobs in itertools.groupby(plan(data, out), key=lambda job: (job.name, job.split)):
        notes = []
        for job in jobs:
            note = writing.finished(job.path, [job.identity], options)
            if note is None:
                raise ValueError(f"{job.path} is missing: all processes have to write to the same folder")
            notes.append(note)
        made = writing.update_manifest(out, name, split, notes, options)
    assert made is not None
    mean, std, fps = statistics(open_split(out, "train"))
    weights.save_tree(out / STATISTICS, {"mean": mean, "std": std})
    counts = {name: {"videos": split.records, "frames": split.frames} for name, split in made.splits.items()}
    files.atomic_write(out / SUMMARY, json.dumps({"fps": fps, "splits": counts}, indent=1) + "\n")
    return made


def statistics(source: TFRecordSource) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"], float]:
    """Mean and standard deviation of each dimension over all frames, and the mean frame rate of the videos.

    A dimension that never changes has deviation 1.
    """
    each = lambda: (records.decode(source[i]) for i in range(len(source)))
    values = lambda: (codes.decode(record.frames).astype(np.float64) for record in each())
    number = int(source.first_frames[-1])
    mean = sum(part.sum(0) for part in values()) / number
    std = np.sqrt(sum(np.square(part - mean).sum(0) for part in values()) / number)
    fps = float(np.mean([record.fps for record in each()]))
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32), round(fps, 6)


def _records(encoder: Encoder, source: TFRecordSource, bar: Bar, check: Callable[[], None]) -> Iterator[writing.Made]:
    """One record for each video of a shard, the pieces of long ones joined."""
    held: collections.deque[tuple[records.VideoRecord, int]] = collections.deque()

    def frames() -> Iterator[bytes]:
        for video in codes.joined(records.decode(source[i]) for i in range(len(source))):
            shell = dataclasses.replace(video, height=1, width=encoder.code_dim, frames=(), extras={})
            held.append((shell, len(video.frames)))
            yield from video.frames

    rows = np.zeros((0, encoder.code_dim), np.float32)
    for part in encoder(frames()):
        check()
        rows = np.concatenate([rows, part])
        bar.update(len(part))
        while held and len(rows) >= held[0][1]:
            shell, count = held.popleft()
            yield writing.pack(dataclasses.replace(shell, frames=codes.encode(rows[:count])))
            rows = rows[count:]


def _first(codes: Array, count: int) -> Float[np.ndarray, "k d"]:
    return np.asarray(codes)[:count]
