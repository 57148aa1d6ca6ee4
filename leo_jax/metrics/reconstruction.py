"""How close a video made from its first frame and its motion comes to the true one: L1, LPIPS, AKD, AED, MKR."""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real, UInt8

from leo_jax import files
from leo_jax.metrics.features import OverDevices
from leo_jax.metrics.video_set import Video, VideoSet
from leo_jax.models.apply import apply
from leo_jax.models.frozen.alexnet import LPIPS
from leo_jax.video import BadVideo, excused


def l1(real: UInt8[np.ndarray, "t h w 3"], fake: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Mean |x̂ - x| of one video, in images from 0 to 1: LIA's mean |0.5·(x̂ - x)| in [-1, 1]. The first frame counts too."""
    return float(np.abs(real.astype(np.float32) - fake.astype(np.float32)).mean() / 255)


class PerceptualDistance:
    """LPIPS of videos, frame by frame."""

    def __init__(self, params: Mapping[str, Any], batch_size: int | None = None):
        """Takes LPIPS' parameters, see `leo_jax.convert.lpips`; `batch_size` frames at once, 16 on each device if not given."""

        def run(params, a, b):
            return apply(LPIPS(), params, *(x.astype(jnp.float32) / 127.5 - 1 for x in (a, b)))

        self._run = OverDevices(run, params, batch_size or 16 * jax.local_device_count())

    def __call__(self, real: UInt8[np.ndarray, "t h w 3"], fake: UInt8[np.ndarray, "t h w 3"]) -> float:
        """Mean LPIPS of one video's frames."""
        size = self._run.batch_size
        found = [self._run(real[at : at + size], fake[at : at + size]) for at in range(0, len(real), size)]
        return float(np.concatenate(found).mean())


def pairs(real: VideoSet, fake: VideoSet, left_out: list[tuple[str, str]] | None = None) -> list[tuple[Video, Video]]:
    """Videos of the same name (suffixes of files aside) on both sides, sorted.

    Raises:
      BadVideo: a generated video has no true one, or they differ in length or size; where `left_out` is given, such videos
        are added to it with the reason instead.
    """
    true = by_stem(real)
    found = []
    for video in fake.videos:
        with excused(left_out):
            found.append((_original(video, true, real.where), video))
    return found


def _original(video: Video, true: Mapping[str, Video], where: str) -> Video:
    """The true video of the same name; raises BadVideo if there is none of the same length and size."""
    other = true.get(stem(video.name))
    if other is None:
        raise BadVideo(video.name, f"no video of that name in {where}: a reconstruction is named as its original")
    if (video.length, video.height, video.width) != (other.length, other.height, other.width):
        raise BadVideo(
            video.name,
            f"{video.length} frames of {video.height}x{video.width} px, its original has {other.length} of "
            f"{other.height}x{other.width}: make both alike",
        )
    return other


def by_stem(videos: VideoSet) -> dict[str, Video]:
    """Videos by their names without suffixes. Raises ValueError where two have one."""
    found: dict[str, Video] = {}
    for video in videos.videos:
        if (other := found.setdefault(stem(video.name), video)) is not video:
            raise ValueError(
                f"{other.name} and {video.name} of {videos.where} go by one name, and videos are paired by it: rename one"
            )
    return found


def stem(name: str) -> str:
    """A video's name without its file's suffix."""
    return str(pathlib.PurePath(name).with_suffix("")) if pathlib.PurePath(name).suffix in KNOWN_SUFFIXES else name


KNOWN_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".npz", ".npy")


def measure(
    matched: list[tuple[Video, Video]], distances: Mapping[str, Callable[[np.ndarray, np.ndarray], float]],
    progress: Callable[[int], None] = lambda done: None, left_out: list[tuple[str, str]] | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Each distance of each pair of videos; a result is the mean over videos.

    Raises BadVideo for one that cannot be read, or adds it to `left_out` where that is given.
    """
    found: dict[str, list[float]] = {name: [] for name in distances}
    for real, fake in matched:
        with excused(left_out):
            frames = [np.clip(np.round(v.read(range(v.length))), 0, 255).astype(np.uint8) for v in (real, fake)]
            for name, distance in distances.items():
                found[name].append(distance(*frames))
        progress(1)
    return found


class Keypoints(NamedTuple):
    """Keypoints or identity features of frames, as a detector gave them.

    `values` is (n, k, 2) in px or (n, d); a frame of NaN alone means that nothing was detected, and a body joint at
    x = -1 that this joint was not.
    """

    names: list[tuple[str, int]]  # video, frame
    values: Real[np.ndarray, "n ..."]


def load_keypoints(path: files.PathLike) -> Keypoints:
    """Reads a .npz of the arrays file_name (n,), frame_number (n,), value (n, k, 2) or (n, d).

    pose-evaluation writes pandas pickles, which can run code when read; docs/evaluation.md shows how to save them so.
    Raises ValueError naming what is missing.
    """
    needed = ("file_name", "frame_number", "value")
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"no keypoints at {path}: it should be a .npz of {', '.join(needed)}")
    try:
        with np.load(path, allow_pickle=False) as content:
            if missing := [name for name in needed if name not in content.files]:
                raise ValueError(f"no array {missing}, it holds {content.files}")
            file_name, frame_number, value = (content[name] for name in needed)
        names = [(str(f), int(n)) for f, n in zip(file_name, frame_number, strict=True)]
        _check_values(names, value)
    except (OSError, *files.NO_ARRAYS) as error:
        raise ValueError(f"{path} is no keypoint file: {error}; it should be a .npz of {', '.join(needed)}") from error
    return Keypoints(names, value)


def _check_values(names: list[tuple[str, int]], value: np.ndarray) -> None:
    """Raises ValueError unless `value` has a numeric row for each name, of NaN alone or without any."""
    if len(value) != len(names) or value.ndim < 2 or value.dtype.kind not in "fiu":
        raise ValueError(f"{len(names)} frames, and values of {value.dtype} {value.shape}")
    bad = np.isnan(value).reshape(len(value), -1)
    if odd := np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1)).tolist():
        raise ValueError(
            f"NaN in part of {names[odd[0]]}: a frame where nothing was detected is NaN alone, a joint that was not is at x = -1"
        )


def average_keypoint_distance(real: Keypoints, fake: Keypoints) -> dict[str, float]:
    """AKD and, for bodies, MKR.

    AKD is the mean absolute difference of coordinates in px (both x and y; not the length of the vector), over joints
    found on both sides, first within a frame, then over frames. MKR is the share of a frame's true joints that were not
    found in the generated one, averaged over frames. Frames where a side has nothing count for neither.

    Returns:
      {"akd", "mkr", "frames"}: the last is how many frames were compared.

    Raises:
      ValueError: the two sides hold other frames or other numbers of joints, or no coordinates.
    """
    _check_shape("akd", "(n, joints, 2), x and y in px", real, fake, lambda shape: len(shape) == 3 and shape[-1] == 2)
    distances, missing = [], []
    for a, b in _matched(real, fake):
        present_a, present_b = (x[:, 0] != -1 for x in (a, b))
        both = present_a & present_b
        if both.any():
            distances.append(np.abs(a - b)[both].mean())
        if present_a.any():
            missing.append((present_a & ~present_b).sum() / present_a.sum())
    if not distances:
        raise ValueError("no frame has a keypoint that was found on both sides")
    return {"akd": float(np.mean(distances)), "mkr": float(np.mean(missing)), "frames": len(distances)}


def average_euclidean_distance(real: Keypoints, fake: Keypoints) -> dict[str, float]:
    """AED: the mean over frames of the *squared* L2 distance of identity features, as pose-evaluation prints it."""
    _check_shape("aed", "(n, d), a feature vector each", real, fake, lambda shape: len(shape) == 2)
    distances = [np.sum((a - b) ** 2) for a, b in _matched(real, fake)]
    if not distances:
        raise ValueError("no frame has features on both sides")
    return {"aed": float(np.mean(distances)), "frames": len(distances)}


def _check_shape(
    metric: str, wanted: str, real: Keypoints, fake: Keypoints, fits: Callable[[tuple[int, ...]], bool]
) -> None:
    for side, found in (("real", real), ("generated", fake)):
        if not fits(found.values.shape):
            raise ValueError(f"{metric} compares values {wanted}; those of the {side} side are {found.values.shape}")


def _matched(real: Keypoints, fake: Keypoints) -> Iterator[tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]]:
    """Values of the same video and frame, where both sides have some."""
    if sorted(real.names) != sorted(fake.names):
        odd = sorted(set(real.names) ^ set(fake.names))
        which = f"{len(odd)} of them, the first: {odd[0]}" if odd else "some twice"
        raise ValueError(f"keypoints are of other frames on the two sides, {which}")
    if real.values.shape[1:] != fake.values.shape[1:]:
        raise ValueError(
            f"values of shape {real.values.shape[1:]} on one side and {fake.values.shape[1:]} on the other"
        )
    rows = {name: i for i, name in enumerate(fake.names)}
    for i, name in enumerate(real.names):
        a, b = real.values[i].astype(np.float64), fake.values[rows[name]].astype(np.float64)
        if not (np.isnan(a).all() or np.isnan(b).all()):
            yield a, b
