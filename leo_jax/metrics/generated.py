"""The generated side made by a model while it is measured, instead of read from files (SPEC §4, §5)."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from leo_jax import files, video, weights
from leo_jax.denoisers import KINDS, UNFINISHED_FILE, from_description, load_description
from leo_jax.metrics import clips, preprocess
from leo_jax.metrics.protocols import Protocol as EvaluationProtocol
from leo_jax.metrics.video_set import Video, VideoSet
from leo_jax.video import BadVideo

CHECKPOINTS, DESCRIPTIONS = "checkpoints", (weights.MODEL_FILE, UNFINISHED_FILE, "config.json")
KEPT = 4  # first videos that stay in memory, because a report shows them again
VALUES = "-1,1 (the model's)"
PART = 64  # frames of a video that are reconstructed at a time


@runtime_checkable
class Model(Protocol):
    """What is asked of a model; `leo_jax.load` gives one."""

    @property
    def size(self) -> int:
        """Side of its images, px."""

    @property
    def stride(self) -> int:
        """Source frames from one frame of the videos that it learnt to the next."""

    @property
    def stages(self) -> Collection[str]:
        """Names of the networks that it has."""

    def generate(
        self, image: Any = None, frames: int = 64, steps: int = 50, seed: int = 0, transition: bool = False
    ) -> Iterator[Float[np.ndarray, "size size 3"]]:
        """Frames in [-1, 1]; the same arguments give the same video."""

    def codes(self, images: Any) -> Any:
        """Motion codes of frames."""

    def render(self, source: Any, codes: Any) -> Any:
        """Frames in [-1, 1] of the source in the codes' poses."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """How a model is asked for videos.

    Attributes:
      count: how many; None is as many as the protocol compares.
      steps: of DDIM.
      unconditional: draw the first images too, instead of taking real ones.
      transition: go from segment to segment by the Transition DM.
    """

    count: int | None = None
    steps: int = 50
    unconditional: bool = False
    transition: bool = False


def is_model(path: files.PathLike) -> bool:
    """Whether a folder holds a model: converted, finished or in training, with all stages or an animator alone."""
    folder = pathlib.Path(path)
    return folder.is_dir() and any(
        (place / weights.MODEL_FILE).is_file() or (place / CHECKPOINTS).is_dir()
        for place in (folder, folder / "animator")
    )


def fingerprint(path: files.PathLike) -> str:
    """SHA-256 over the names and contents of a model's weights and descriptions; logs, codes and results do not count."""
    folder, digest = pathlib.Path(path), hashlib.sha256()
    places = (folder, *(folder / stage for stage in ("animator", *KINDS)))
    found = [file for place in places for file in place.glob("*") if file.suffix == ".npz" or file.name in DESCRIPTIONS]
    found += [file for place in places for file in (place / CHECKPOINTS).rglob("*")]
    for file in sorted(file for file in found if file.is_file()):
        digest.update(f"{file.relative_to(folder)} {files.sha256(file)}\n".encode())
    return digest.hexdigest()


def sampling(path: files.PathLike) -> dict[str, dict[str, float]]:
    """DDIM's eta and the bound of x_0 that each denoiser of a model says to take (leo_jax.denoisers)."""
    described = {stage: load_description(pathlib.Path(path) / stage) for stage in KINDS}
    found = {stage: from_description(about.get(stage, about)) for stage, about in described.items() if about}
    return {stage: {"eta": denoiser.eta, "bound": denoiser.bound} for stage, denoiser in found.items()}


def videos_of(
    model: Model, path: files.PathLike, real: VideoSet, protocol: EvaluationProtocol, choices: Choices, *,
    stride: int | None = None, seed: int = 0, folder: files.PathLike | None = None,
) -> VideoSet:  # fmt: skip
    """Videos that the model makes when they are asked for, just as long as the protocol needs.

    Video i has the seed seed · count + i, so that another seed gives other videos. Conditional ones begin with the first
    frames of real videos, in an order drawn by `seed`; where there are fewer real videos than are wanted, each is taken
    again after all have been.

    Args:
      model: see `Model`.
      path: what results call it.
      real: the true videos.
      protocol: its spacing and length decide how many frames are made: 61 for 16 at spacing 4 from a model of stride 1.
      choices: how they are made.
      stride: source frames from one generated frame to the next; None is what the model learnt.
      seed: of everything drawn.
      folder: where its files lie, if not at `path`.

    Raises:
      ValueError: the model lacks a stage, the protocol's spacing is no multiple of the stride, or there are no videos.
    """
    needed = {"motion"} | ({"start", "first_frame"} if choices.unconditional else set())
    if missing := (needed | ({"transition", "start"} if choices.transition else set())) - set(model.stages):
        way = "without --unconditional real first frames are taken" if choices.unconditional else "train them first"
        raise ValueError(
            f"{path} has the stages {', '.join(sorted(model.stages))}; making these videos needs "
            f"{', '.join(sorted(missing))} as well: {way}"
        )
    stride = model.stride if stride is None else stride
    step = clips.step_of(protocol, stride, f"the videos of {path}")
    length = (protocol.frames - 1) * step + 1
    count = protocol.count if choices.count is None else choices.count
    if count < 2:
        raise ValueError(f"{count} generated videos cannot be measured: 2 or more are needed")
    mode = "unconditional" if choices.unconditional else "conditional"
    order = np.random.default_rng([seed, 9]).permutation(len(real.videos))
    origins: list[Video | None] = [
        None if choices.unconditional else real.videos[order[i % len(order)]] for i in range(count)
    ]

    def make(i: int, indices: Sequence[int]) -> Float[np.ndarray, "t size size 3"]:
        origin = origins[i]
        image = None if origin is None else first_image(origin, model.size)
        seed_of_it = seed * count + i
        made = model.generate(
            image=image, frames=length, steps=choices.steps, seed=seed_of_it, transition=choices.transition
        )
        return _chosen(made, indices, length, model.size, _name(i))

    made = {
        "model": str(path), "files": fingerprint(folder or path), "mode": mode, "frames": length, "steps": choices.steps,
        "sampling": sampling(folder or path), "transition": choices.transition, "seeds": [seed * count, seed * count + count - 1],
        "images": None if choices.unconditional else f"first frames of {real.where}, in an order drawn by seed {seed}",
    }  # fmt: skip
    read, size = _keeping(make), (length, model.size, model.size)
    found = tuple(
        Video(_name(i), *size, "raw", _name(i) if origin is None else origin.group, functools.partial(read, i))
        for i, origin in enumerate(origins)
    )
    where = f"{path} ({mode}, {choices.steps} steps{', with transitions' * choices.transition})"
    return VideoSet(where, found, stride, _hash(made, None if choices.unconditional else real), VALUES, made=made)


def reconstructions(
    model: Model, path: files.PathLike, real: VideoSet, *, folder: files.PathLike | None = None
) -> tuple[VideoSet, VideoSet]:
    """The true videos at the model's size, and the same drawn from their first frames and motion codes (SPEC §7)."""
    scaled = at_size(real, model.size)

    def make(i: int, indices: Sequence[int]) -> Float[np.ndarray, "t size size 3"]:
        original = scaled.videos[i]
        source = _bytes(original.read([0]))[0]
        parts = [indices[start : start + PART] for start in range(0, len(indices), PART)]
        drawn = (model.render(source, model.codes(_bytes(original.read(part)))) for part in parts)
        return np.concatenate([_levels(np.asarray(part), original.name) for part in drawn])

    made = {
        "model": str(path), "files": fingerprint(folder or path), "mode": "reconstruction",
        "images": f"first frames of {real.where}",
    }  # fmt: skip
    read = _keeping(make)
    videos = tuple(
        dataclasses.replace(original, storage="raw", truth=None, read=functools.partial(read, i))
        for i, original in enumerate(scaled.videos)
    )
    where = f"{path} (reconstruction)"
    return scaled, VideoSet(where, videos, real.stride, _hash(made, real), VALUES, made=made)


def at_size(videos: VideoSet, size: int) -> VideoSet:
    """The videos' centred squares at `size` px, antialiased; those of that size already are left as they are."""

    def scaled(one: Video) -> Video:
        if (one.height, one.width) == (size, size):
            return one
        read = lambda indices: np.stack([_square(frame, size) for frame in _bytes(one.read(indices))])
        return dataclasses.replace(one, height=size, width=size, read=read, truth=None)

    return dataclasses.replace(videos, videos=tuple(scaled(one) for one in videos.videos))


def first_image(origin: Video, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A video's first frame, its centred square at `size` px."""
    return _square(_bytes(origin.read([0]))[0], size)


def _square(frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    h, w, _ = frame.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return video.resize(frame[top : top + side, left : left + side], size, size)


def _bytes(frames: np.ndarray) -> UInt8[np.ndarray, "t h w 3"]:
    return preprocess.round_to_uint8(frames, "nearest")


def _chosen(
    made: Iterator[np.ndarray], indices: Sequence[int], length: int, size: int, name: str
) -> Float[np.ndarray, "t size size 3"]:
    """The frames of these numbers on the 0–255 scale; the others are let go as they come."""
    wanted, count = set(indices), 0
    found: dict[int, np.ndarray] = {}
    for count, frame in enumerate(made, 1):
        if frame.shape != (size, size, 3):
            raise BadVideo(name, f"the model made a frame of shape {frame.shape}, {(size, size, 3)} was due")
        if count - 1 in wanted:
            found[count - 1] = np.asarray(frame)
    if count != length:
        raise BadVideo(name, f"the model made {count} frames of {length}")
    return _levels(np.stack([found[i] for i in indices]), name)


def _levels(frames: np.ndarray, name: str) -> Float[np.ndarray, "t h w 3"]:
    """Values in [-1, 1] as 0–255, not rounded: protocols do that each in its way."""
    frames = np.asarray(frames, np.float32)
    if not np.isfinite(frames).all():
        raise BadVideo(name, "the model made NaN or infinity")
    return (frames + 1) * np.float32(127.5)


def _keeping(make: Callable[[int, Sequence[int]], np.ndarray]) -> Callable[[int, Sequence[int]], np.ndarray]:
    """`make` of (video, frames' numbers), the first KEPT videos being made once only."""
    kept: dict[int, tuple[list[int], np.ndarray]] = {}

    def read(i: int, indices: Sequence[int]) -> np.ndarray:
        known, frames = kept.get(i, ([], None))
        if frames is None or known != list(indices):
            frames = make(i, indices)
        if i < KEPT:
            kept[i] = list(indices), frames
        return frames

    return read


def _name(i: int) -> str:
    return f"{i:06d}"


def _hash(made: Mapping[str, Any], real: VideoSet | None) -> str:
    """Of all that generated videos depend on; not of where things lie."""
    key = {name: value for name, value in made.items() if name not in ("model", "images")}
    images = [real.fingerprint, real.value_range, *(v.name for v in real.videos)] if real is not None else []
    return hashlib.sha256(json.dumps([key, images], sort_keys=True).encode()).hexdigest()
