"""The generated side made by a model while it is measured, instead of read from files (SPEC §4, §5)."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, UInt8

from leo_jax import files, video, weights
from leo_jax.denoisers import KINDS, UNFINISHED_FILE, from_description, load_description
from leo_jax.metrics import clips, preprocess
from leo_jax.metrics.protocols import Protocol as EvaluationProtocol
from leo_jax.metrics.video_set import Video, VideoSet
from leo_jax.metrics.videos import hash_of
from leo_jax.video import BadVideo

CHECKPOINTS, DESCRIPTIONS = "checkpoints", (weights.MODEL_FILE, UNFINISHED_FILE, "config.json")
KEPT = 4  # first videos that stay in memory, because a report shows them again
VALUES = "-1,1 (the model's)"
TOGETHER = 64  # videos of each device whose codes are drawn at a time
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

    def sample_codes(
        self,
        start: Any = None,
        frames: int = 64,
        num: int = 1,
        steps: int = 50,
        seed: int = 0,
        transition: bool = False,
        *,
        first: int = 0,
    ) -> Float[np.ndarray, "num frames d"]:
        """Motion codes of the seed's videos `first` to `first + num - 1`, that begin with the codes `start` if there are any."""

    def first_frame(self, code: Any, steps: int = 50, seed: int = 0, *, first: int = 0) -> Any:
        """Images in [-1, 1] that the seed's videos from `first` on begin with, by their first codes."""

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
    folder = pathlib.Path(path)
    places = (folder, *(folder / stage for stage in ("animator", *KINDS)))
    found = [file for place in places for file in place.glob("*") if file.suffix == ".npz" or file.name in DESCRIPTIONS]
    found += [file for place in places for file in (place / CHECKPOINTS).rglob("*")]
    return hash_of(sorted(file for file in found if file.is_file()), folder)


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

    Video i is number i of the seed's videos. The codes of TOGETHER of them are drawn at a time, and only frames that are
    looked at are rendered. Conditional videos begin with the first frames of real ones, in an order drawn by `seed`; where
    there are fewer real videos than are wanted, each is taken again after all have been.

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

    block = TOGETHER * jax.local_device_count()

    @functools.lru_cache(maxsize=1)
    def drawn(number: int) -> _Drawn:
        first = number * block
        return _draw(model, origins[first : first + block], first, length, choices, seed)

    def make(i: int, indices: Sequence[int]) -> Float[np.ndarray, "t size size 3"]:
        return _frames(model, drawn(i // block), i % block, indices, _name(i))

    made = {
        "model": str(path), "files": fingerprint(folder or path), "mode": mode, "frames": length, "steps": choices.steps,
        "sampling": sampling(folder or path), "transition": choices.transition, "seed": seed,
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


class _Drawn(NamedTuple):
    """First images and motion codes of some videos; `bad` says, by row, which real first image could not be read, and why."""

    images: UInt8[np.ndarray, "n size size 3"]
    codes: Float[np.ndarray, "n frames d"]
    bad: Mapping[int, BadVideo]


def _draw(
    model: Model, origins: Sequence[Video | None], first: int, length: int, choices: Choices, seed: int
) -> _Drawn:
    """What the videos from number `first` on, of these real ones or of none, are rendered from."""
    bad: dict[int, BadVideo] = {}
    images = np.zeros((len(origins), model.size, model.size, 3), np.uint8)
    for row, origin in enumerate(origins):
        try:
            if origin is not None:
                images[row] = first_image(origin, model.size)
        except BadVideo as error:
            bad[row] = error
    start = None if choices.unconditional else model.codes(images)
    drawing = {"steps": choices.steps, "seed": seed, "first": first}
    codes = model.sample_codes(start, length, len(origins), transition=choices.transition, **drawing)
    if codes.shape[:2] != (len(origins), length):
        raise BadVideo(_name(first), f"the model made codes {codes.shape}, {(len(origins), length)} of them were due")
    if choices.unconditional:
        images = _bytes(_levels(model.first_frame(codes[:, 0], **drawing), _name(first)))
    return _Drawn(images, codes, bad)


def _frames(
    model: Model, drawn: _Drawn, row: int, indices: Sequence[int], name: str
) -> Float[np.ndarray, "t size size 3"]:
    """The frames of these ascending numbers on the 0–255 scale, of which the first is the first image itself."""
    if row in drawn.bad:
        raise drawn.bad[row]
    image, moved = drawn.images[row], [i for i in indices if i]
    frames = [image[None].astype(np.float32)] if len(moved) < len(indices) else []
    if moved:
        rendered = np.asarray(model.render(image, drawn.codes[row, moved]))
        if rendered.shape != (len(moved), *image.shape):
            raise BadVideo(name, f"the model made frames {rendered.shape}, {(len(moved), *image.shape)} was due")
        frames.append(_levels(rendered, name))
    return np.concatenate(frames)


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
