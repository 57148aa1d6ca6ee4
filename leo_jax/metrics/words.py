"""What a result says besides its numbers: how they came about, and what is to be feared of them."""

import platform
import sys
from collections.abc import Mapping
from typing import Any

import flax
import jax
import numpy as np

from leo_jax import __version__
from leo_jax.metrics.protocols import REAL_CLIPS, RESIZES, Protocol
from leo_jax.metrics.video_set import VideoSet

DISTANCES = ("fvd", "kvd")
USUAL = 2048  # clips of each side in every paper's FVD


def warnings_of_numbers(found: Mapping[str, Any], protocol: Protocol | None) -> list[str]:
    """What the number of clips does to the numbers."""
    some = next((found[name] for name in DISTANCES if name in found), None)
    if some is None or protocol is None:
        return []
    told = []
    n, d = min(some["clips_real"], some["clips_fake"]), some["dimensions"]
    if n < USUAL:
        told.append(
            f"{some['clips_real']} real and {some['clips_fake']} generated clips, where the field compares {USUAL}: FVD rises "
            "as N falls, compare it only at equal N (KVD is unbiased, but noisier)"
        )
    if n < d:
        told.append(f"fewer clips than the {d} dimensions of the features: the covariances are singular")
    if protocol.trials > 1 and not some["redrawn"]:
        told.append("every clip is compared in every trial: no ± from re-draws, see the standard error")
    elif protocol.trials > 1 and some["redrawn"] != ["real", "fake"]:
        told.append(f"± is over new draws of the {some['redrawn'][0]} side alone, the other has no more clips")
    line = some.get("extrapolated")
    if line and line["sizes"][-1] < d:
        told.append(
            f"FVD at N = ∞ is fitted down to {line['sizes'][-1]} clips, where the 1/N law need not hold ({d} dimensions)"
        )
    return told


def warnings_of_files(real: VideoSet, fake: VideoSet, left_out: Mapping[str, int]) -> list[str]:
    """What the files do to the numbers; `left_out` counts each side's videos that were not used."""
    told = []
    if _codings(real) != _codings(fake):
        told.append(
            f"real frames are stored as {', '.join(real.storages)}, generated ones as {', '.join(fake.storages)}: lossy "
            "compression of one side alone, or of another kind, changes every metric"
        )
    if real.sizes != fake.sizes or len(real.sizes) > 1:
        told.append(f"frames of {real.sizes} px against {fake.sizes} px, resized to one size: blur differs")
    seconds = [{round(rate * side.stride, 1) for rate in side.rates} for side in (real, fake)]
    if all(seconds) and seconds[0] != seconds[1]:
        true, made = (", ".join(f"{rate:g}" for rate in sorted(rates)) for rates in seconds)
        told.append(
            f"by the files' own rates and the strides, sources had {true} frames a second on the real side and {made} on the "
            "generated one: if files are played at their true speed, state the strides that make these equal"
        )
    if real.fingerprint == fake.fingerprint:
        told.append("both sides are the same videos")
    told += [f"{count} {name} videos were left out, the result lists them" for name, count in left_out.items() if count]
    return told


def _codings(videos: VideoSet) -> set[str]:
    """How the frames were compressed, all lossless ways being one."""
    return {"lossless" if v.lossless else v.storage for v in videos.videos}


def in_words(protocol: Protocol) -> str:
    """The protocol as a sentence."""
    p = protocol
    apart = "neighbouring" if p.spacing == 1 else f"{p.spacing} source frames apart"
    real = REAL_CLIPS[p.real_clips].format(chunk=p.frames * p.spacing, clips=p.spacing, count=p.count)
    side = f"cropped and resized to {p.resolution} px" if p.resolution else "at their own size"
    repeats = f", {p.trials} times with clips drawn anew" if p.trials > 1 else ", once"
    rounded = "truncated" if p.rounding == "truncate" else "rounded"
    return (
        f"clips of {p.frames} frames, {apart}; real: {real}; generated: the first clip of each video; {p.count} of each, or "
        f"what there is{repeats}; frames {side}, {rounded} to 8 bits, then {RESIZES[p.resize]}; I3D Kinetics-400 logits, batch "
        f"norm eps {p.epsilon:g}; covariance divided by N{' - 1' * p.ddof}; kernel of degree 3, gamma 1/D, coef0 1, unbiased "
        "over all"
    )


def versions() -> dict[str, str]:
    """What computed it."""
    device = jax.local_devices()[0]
    return {
        "leo_jax": __version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{len(jax.local_devices())} x {device.device_kind}",
    }


def describe(videos: VideoSet) -> dict[str, Any]:
    """What a result says of a set of videos."""
    told = {
        "where": videos.where,
        "videos": len(videos.videos),
        "frames": sum(videos.lengths),
        "sizes": videos.sizes,
        "stored_as": videos.storages,
        "value_range": videos.value_range,
        "stride": videos.stride,
        "frames_a_second": videos.rates,
        "fingerprint": videos.fingerprint,
        "skipped": [list(entry) for entry in videos.skipped],
    }
    return told | ({"made": dict(videos.made)} if videos.made else {})
