"""Metrics of whole videos, each against its original of the same name: L1, LPIPS, and the identity of puppets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from leo_jax.metrics import content, preprocess, reconstruction
from leo_jax.metrics.video_set import Video, VideoSet
from leo_jax.progress import progress_bar
from leo_jax.video import BadVideo, excused

PAIRED = ("l1", "lpips", "identity")
LeftOut = list[tuple[str, str]] | None  # (name, reason) of bad videos; None ends the run with an error instead


def measure(
    real: VideoSet, fake: VideoSet, wanted: Sequence[str], weights: Mapping[str, Any], left_out: LeftOut, *,
    progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Distances of each generated video to its original.

    Args:
      real: true videos.
      fake: generated ones.
      wanted: of PAIRED.
      weights: parameters of "lpips", where it is wanted.
      left_out: is given the videos that cannot be used.
      progress: show bars.

    Raises:
      BadVideo: a video cannot be used, and there is no `left_out`.
      ValueError: no video is left.
    """
    found: dict[str, Any] = {}
    if distances := {name: reconstruction.l1 for name in wanted if name == "l1"} | {
        name: reconstruction.PerceptualDistance(weights["lpips"]) for name in wanted if name == "lpips"
    }:
        matched = reconstruction.pairs(real, fake, left_out)
        with progress_bar(len(matched), "reconstruction", "video", shown=progress) as bar:
            for name, values in reconstruction.measure(matched, distances, bar.update, left_out).items():
                found[name] = _mean(values, left_out)
    if "identity" in wanted:
        found["identity"] = _identity(real, fake, left_out, progress)
    return found


def samples(real: VideoSet, fake: VideoSet, count: int, left_out: LeftOut) -> dict[str, list[np.ndarray]]:
    """The first videos of each side, those left out excepted."""
    bad = {name for name, _ in left_out or []}
    matched = reconstruction.pairs(real, fake, None if left_out is None else [])
    some = [pair for pair in matched if not bad & {video.name for video in pair}][:count]
    return {name: [_whole(pair[i]) for pair in some] for i, name in enumerate(("real", "fake"))}


def _identity(real: VideoSet, fake: VideoSet, left_out: LeftOut, progress: bool) -> dict[str, Any]:
    """How far puppets are from being the persons that they should be, and how far they wander."""
    true = reconstruction.by_stem(real)
    values: list[float] = []
    wander: list[float] = []
    with progress_bar(len(fake.videos), "puppets' identity", "video", shown=progress) as bar:
        for video in fake.videos:
            with excused(left_out):
                original = true.get(reconstruction.stem(video.name))
                if original is None:
                    reason = f"no video of that name in {real.where}: identity is told from the original"
                    raise BadVideo(video.name, reason)
                known, frames = content.puppet_truth(original), _whole(video)
                values.append(known.distance(frames))
                wander.append(float(content.average_distance(known.features(frames))))
            bar.update()
    return _mean(values, left_out) | {"acd": float(np.mean(wander))}


def _whole(video: Video) -> UInt8[np.ndarray, "t h w 3"]:
    """All frames as uint8."""
    return preprocess.round_to_uint8(video.read(range(video.length)), "nearest")


def _mean(values: Sequence[float], left_out: LeftOut) -> dict[str, Any]:
    if not values:
        name, reason = (left_out or [("", "there were none")])[0]
        raise ValueError(f"no videos are left to compare, the first: {name}: {reason}")
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"value": float(np.mean(values)), "standard_error": error, "videos": len(values)}
