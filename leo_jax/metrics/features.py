"""I3D's features of clips: read, prepared, batched over the devices, and kept, so that every further statistic is cheap."""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, UInt8

from leo_jax import weights
from leo_jax.files import PathLike
from leo_jax.metrics import preprocess
from leo_jax.metrics.clips import Clip
from leo_jax.metrics.protocols import Protocol
from leo_jax.metrics.video_set import VideoSet
from leo_jax.models.apply import apply
from leo_jax.models.frozen.i3d import I3D
from leo_jax.video import BadVideo

READ_BYTES = 1 << 29  # decoded frames of one video held at a time
FEATURES_VERSION = 2  # to be raised when frames reach a network in another way than before
SAVE_SECONDS = 60.0  # how much work an interrupted run may lose


@dataclasses.dataclass(frozen=True)
class Features:
    """One side's features.

    Attributes:
      values: one row for each clip.
      clips: the clips, in the order that was asked for, without those of unreadable videos.
      groups: number of each clip's source; error bars draw sources.
      skipped: (name, reason) of unreadable videos.
      computed: how many were not in the cache.
    """

    values: Float[np.ndarray, "n d"]
    clips: list[Clip]
    groups: Int[np.ndarray, " n"]
    skipped: list[tuple[str, str]]
    computed: int


@typing.runtime_checkable
class Network(typing.Protocol):
    """What `extract` needs: up to `batch_size` clips at once to one feature row each; `fingerprint` names its weights."""

    batch_size: int
    fingerprint: str

    def __call__(self, clips: UInt8[np.ndarray, "n t h w 3"]) -> Float[np.ndarray, "n d"]:
        """Features of the clips."""


def i3d_function(protocol: Protocol) -> Callable[..., Any]:
    """(parameters, uint8 clips (n, t, h, w, 3)) → logits (n, 400)."""
    module = I3D(epsilon=protocol.epsilon)
    return lambda params, clips: apply(module, params, preprocess.to_network(clips, protocol.resize))


def i3d_step(protocol: Protocol, mesh: Mesh) -> Any:
    """`i3d_function` under jit, clips shared out over all axes of the mesh."""
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return jax.jit(i3d_function(protocol), in_shardings=(everywhere, split), out_shardings=split)


class OverDevices:
    """A function of (parameters, arrays) → rows, its batch shared out over all local devices."""

    def __init__(self, run: Callable[..., Any], params: Mapping[str, Any], batch_size: int):
        """Places the parameters; `batch_size` is of all devices, and raised to a whole number for each."""
        devices = jax.local_devices()
        self.batch_size = -(-batch_size // len(devices)) * len(devices)
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)
        everywhere, self._split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
        self._params = jax.device_put(dict(params), everywhere)
        self._run = jax.jit(run, out_shardings=self._split)

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """The rows of up to `batch_size` examples; arrays have them as their first axis."""
        count = len(arrays[0])
        short = self.batch_size - count
        padded = [np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) if short else x for x in arrays]
        return np.asarray(self._run(self._params, *(jax.device_put(x, self._split) for x in padded)))[:count]


class I3DNetwork:
    """I3D on all local devices: uint8 clips in, logits out."""

    def __init__(self, params: Mapping[str, Any], protocol: Protocol, batch_size: int | None = None):
        """Places the parameters.

        Args:
          params: of I3D, see `leo_jax.convert.i3d`.
          protocol: its `resize` and `epsilon` are used.
          batch_size: clips at once over all devices; None suits the device and the clip's length.
        """
        devices = jax.local_devices()
        per_device = max(1, (64 if devices[0].platform == "cpu" else 256) // protocol.frames)
        self._run = OverDevices(i3d_function(protocol), params, batch_size or per_device * len(devices))
        self.batch_size, self.fingerprint = self._run.batch_size, tree_fingerprint(params)

    def __call__(self, clips: UInt8[np.ndarray, "n t h w 3"]) -> Float[np.ndarray, "n d"]:
        """Logits of up to `batch_size` clips."""
        return self._run(clips)


def extract(
    videos: VideoSet, clips: Sequence[Clip], protocol: Protocol, network: Network, *,
    cache: PathLike | None = None, on_bad: str = "error", progress: Callable[[int], None] = lambda done: None,
) -> Features:  # fmt: skip
    """Features of `clips` by one network: see `extract_all`."""
    return extract_all(videos, [(network, clips)], protocol, cache=cache, on_bad=on_bad, progress=progress)[0]


def extract_all(
    videos: VideoSet, wanted: Sequence[tuple[Network, Sequence[Clip]]], protocol: Protocol, *,
    cache: PathLike | None = None, on_bad: str = "error", progress: Callable[[int], None] = lambda done: None,
) -> list[Features]:  # fmt: skip
    """Features by several networks, from the cache where they are there; a video is read (or made) once for all of them.

    Args:
      videos: one side.
      wanted: each network with the clips that it is to see.
      protocol: how frames are prepared.
      cache: folder of computed features; None keeps none.
      on_bad: "error", or "skip" to leave out clips of unreadable videos.
      progress: called with the number of clips that a network has just finished.

    Returns:
      The features by each network.

    Raises:
      BadVideo: a video cannot be decoded, or has frames of another size than the others.
      ValueError: no clip is left.
    """
    jobs = [
        _Job(network, clips, Store(cache, cache_key(videos, protocol, network.fingerprint)))
        for network, clips in wanted
    ]
    progress(sum(len(job.clips) - len(job.missing) for job in jobs))
    bad: dict[int, str] = {}
    saved = time.monotonic()
    missing = sorted(set().union(*(job.missing for job in jobs)))
    size = None if protocol.resolution else _size_of(videos, min(clip.video for job in jobs for clip in job.clips))
    for some, frames in _batches(
        _frames(videos, missing, protocol, size, bad, on_bad), max(n.batch_size for n, _ in wanted)
    ):
        for job in jobs:
            progress(job.run(some, frames))
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(jobs)
            saved = time.monotonic()
    _save(jobs)
    return [_found(job, videos, bad) for job in jobs]


class _Job:
    """One network's part of an extraction."""

    def __init__(self, network: Network, clips: Sequence[Clip], store: "Store"):
        self.network, self.clips, self.store = network, clips, store
        self.known = store.load()
        self.missing = set(clips) - set(self.known)
        self.new = 0

    def run(self, clips: Sequence[Clip], frames: UInt8[np.ndarray, "n t h w 3"]) -> int:
        """Computes those that are missing; returns how many."""
        rows = [row for row, clip in enumerate(clips) if clip in self.missing]
        for start in range(0, len(rows), self.network.batch_size):
            part = rows[start : start + self.network.batch_size]
            whole = len(part) == len(clips)
            self.known.update(
                zip([clips[i] for i in part], self.network(frames if whole else frames[part]), strict=True)
            )
        self.new += len(rows)
        return len(rows)


def _save(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.new:
            job.store.save(job.known)


def _found(job: _Job, videos: VideoSet, bad: Mapping[int, str]) -> Features:
    kept = [clip for clip in job.clips if clip.video not in bad]
    if not kept:
        reason = f": all {len(bad)} videos are unreadable, the first: {next(iter(bad.values()))}" if bad else ""
        raise ValueError(f"no clips left of {videos.where}{reason}")
    order = {name: i for i, name in enumerate(dict.fromkeys(v.group for v in videos.videos))}
    return Features(
        values=np.stack([job.known[clip] for clip in kept]),
        clips=kept,
        groups=np.array([order[videos.videos[clip.video].group] for clip in kept], int),
        skipped=[(videos.videos[i].name, reason) for i, reason in sorted(bad.items())],
        computed=job.new,
    )


def _frames(
    videos: VideoSet,
    clips: Sequence[Clip],
    protocol: Protocol,
    size: tuple[int, int] | None,
    bad: dict[int, str],
    on_bad: str,
) -> Iterator[tuple[Clip, UInt8[np.ndarray, "t h w 3"]]]:
    """The prepared frames of each clip, clips in the order of their videos; each video is decoded as few times as fit memory.

    Fills `bad` with the videos that could not be read, or whose frames are not of `size` where one is given.
    """
    for number, of_video in itertools.groupby(clips, key=lambda clip: clip.video):
        video = videos.videos[number]
        try:
            for part in _parts(list(of_video), video.height * video.width * 3):
                needed = sorted({i for clip in part for i in clip.indices})
                frames = video.read(needed)
                if len(frames) != len(needed):
                    raise BadVideo(video.name, f"{len(frames)} of {len(needed)} frames could be decoded")
                place = {frame: row for row, frame in enumerate(needed)}
                for clip in part:
                    prepared = preprocess.prepare(frames[[place[i] for i in clip.indices]], protocol)
                    if size is not None and prepared.shape[1:3] != size:
                        raise BadVideo(
                            video.name,
                            f"frames of {prepared.shape[1:3]} px where others have {size}: {protocol.name} does not "
                            "resize, override its resolution or prepare the videos",
                        )
                    yield clip, prepared
        except BadVideo as error:
            if on_bad != "skip":
                raise
            bad[number] = error.reason


def _size_of(videos: VideoSet, number: int) -> tuple[int, int]:
    return videos.videos[number].height, videos.videos[number].width


def _parts(clips: list[Clip], frame_bytes: int) -> Iterator[list[Clip]]:
    """Runs of clips (sorted by start) whose frames together stay under READ_BYTES, at least one clip each."""
    part: list[Clip] = []
    for clip in clips:
        if part and (clip.indices[-1] - part[0].start + 1) * frame_bytes > READ_BYTES:
            yield part
            part = []
        part.append(clip)
    if part:
        yield part


def _batches(
    items: Iterable[tuple[Clip, np.ndarray]], size: int
) -> Iterator[tuple[list[Clip], UInt8[np.ndarray, "n t h w 3"]]]:
    """Items in batches, the next one being read while the caller works on the last."""
    iterator = iter(items)

    def take():
        batch = list(itertools.islice(iterator, size))
        return ([clip for clip, _ in batch], np.stack([frames for _, frames in batch])) if batch else None

    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        pending = reader.submit(take)
        while (batch := pending.result()) is not None:
            pending = reader.submit(take)
            yield batch


class Store:
    """Features that are kept in a file: clip → (d,), under a key that names all they depend on."""

    def __init__(self, folder: PathLike | None, key: Mapping[str, Any]):
        self._key = json.dumps(key, sort_keys=True)
        name = hashlib.sha256(self._key.encode()).hexdigest()[:32]
        self.path = pathlib.Path(folder) / f"features-{name}.npz" if folder is not None else None

    def load(self) -> dict[Clip, Float[np.ndarray, " d"]]:
        """What is kept; nothing where there is no file. Raises ValueError if the file is damaged."""
        if self.path is None or not self.path.is_file():
            return {}
        try:
            tree = weights.load_tree(self.path)
        except ValueError as error:
            raise ValueError(
                f"{error}. It is kept features only: delete it, or compute them anew with --no_cache"
            ) from error
        rows = zip(tree["clips"].tolist(), tree["features"], strict=True)
        return {Clip(*clip): feature for clip, feature in rows}

    def save(self, features: Mapping[Clip, np.ndarray]) -> None:
        """Writes all of `features`, whole or not at all."""
        if self.path is not None and features:
            clips = np.array(list(features), np.int64)
            tree = {"clips": clips, "features": np.stack(list(features.values())), "key": np.array(self._key)}
            weights.save_tree(self.path, tree)


def cache_key(videos: VideoSet, protocol: Protocol, weights_fingerprint: str) -> dict[str, Any]:
    """All that features depend on, besides the clip."""
    preparation = {name: getattr(protocol, name) for name in ("resolution", "rounding", "resize", "epsilon")}
    names = hashlib.sha256("\n".join(video.name for video in videos.videos).encode()).hexdigest()  # clips count them
    data = {"data": videos.fingerprint, "videos": names, "range": videos.value_range}
    return {"version": FEATURES_VERSION, "weights": weights_fingerprint, **data, **preparation}


def default_cache() -> pathlib.Path:
    """Where features are kept: $LEO_CACHE, or leo_jax in the user's cache folder."""
    if "LEO_CACHE" in os.environ:
        return pathlib.Path(os.environ["LEO_CACHE"])
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "leo_jax"


def tree_fingerprint(tree: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes and values of a tree of arrays."""
    digest = hashlib.sha256()
    for name, value in sorted(traverse_util.flatten_dict(dict(tree), sep="/").items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()
