"""One evaluation: two sets of videos, a protocol, and every choice and doubt beside the numbers."""

import collections
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from leo_jax import files
from leo_jax.files import PathLike
from leo_jax.metrics import clips, content, features, paired, preprocess, uncertainty, words
from leo_jax.metrics.frechet import frechet_distance
from leo_jax.metrics.kernel import kernel_distance
from leo_jax.metrics.paired import PAIRED
from leo_jax.metrics.protocols import Protocol
from leo_jax.metrics.video_set import VideoSet
from leo_jax.metrics.words import DISTANCES
from leo_jax.progress import Bar, progress_bar
from leo_jax.video import BadVideo

FORMAT = "leo_jax evaluation, version 1"
CONTENT = {"acd-face": "face", "acd-body": "body"}
METRICS = (*DISTANCES, *CONTENT, *PAIRED)
NEEDS = {"fvd": "i3d", "kvd": "i3d", "acd-face": "face", "acd-body": "reid", "lpips": "lpips"}  # which weights
SAMPLES = 4  # clips of each side that a report shows
WHOLE = {"name": "whole videos", "in_words": "videos paired by name, all frames, as they are stored"}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found: `result` is ready for JSON, `samples` are the first clips of each side, uint8 (t, h, w, 3)."""

    result: dict[str, Any]
    samples: dict[str, list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run, which moves no number but the error bars.

    Attributes:
      seed: of draws, random offsets and error bars.
      cache: folder of computed features, or None.
      on_bad: "error", or "skip" to leave out videos that are too short or cannot be decoded.
      bootstrap: draws for the standard errors; 0 for none.
      floor: how often the real side is halved and measured against itself; 0 for no floor.
      extrapolate: also give FVD at N = ∞.
      batch_size: clips at once; None suits the device.
      unit_vectors: see `content.ContentNetwork`.
      progress: show bars.
    """

    seed: int = 0
    cache: PathLike | None = None
    on_bad: str = "error"
    bootstrap: int = 100
    floor: int = 5
    extrapolate: bool = False
    batch_size: int | None = None
    unit_vectors: bool | None = None
    progress: bool = True

    def __post_init__(self):
        for what, least in (("seed", 0), ("bootstrap", 0), ("floor", 0), ("batch_size", 1)):
            value = getattr(self, what)
            if value is not None and value < least:
                raise ValueError(f"{what}={value} must be {least} or more")
        if self.on_bad not in ("error", "skip"):
            raise ValueError(f"on_bad={self.on_bad!r} must be 'error' or 'skip'")


class _Side:
    """One side's clips and what a trial takes of them."""

    def __init__(self, name: str, videos: VideoSet, protocol: Protocol, settings: Settings):
        self.name, self.videos, self.protocol, self.settings = name, videos, protocol, settings
        if name == "real":
            self.clips = clips.real_clips(videos.lengths, protocol, videos.stride, settings.seed)
        else:
            self.clips = clips.fake_clips(videos.lengths, protocol, videos.stride)
        step = clips.step_of(protocol, videos.stride, f"the {name} videos")
        chunk = name == "real" and protocol.real_clips == "interleaved"
        self.needed = protocol.frames * step if chunk else (protocol.frames - 1) * step + 1
        short = [v for v in videos.videos if v.length < self.needed]
        self.skipped = [(v.name, f"{v.length} frames, {self.needed} are needed") for v in short]
        if short and (not self.clips or (name == "fake" and settings.on_bad != "skip")):
            raise BadVideo(
                short[0].name,
                f"has {short[0].length} frames, {protocol.name} needs {self.needed} of a {name} video ({len(short)} of "
                f"{len(videos.videos)} are too short): make longer ones, state their stride (--{name}_stride), or leave them out "
                "(--skip_bad)",
            )
        self.draws = clips.draws(len(self.clips), protocol, settings.seed, name)
        self.compared = len(self.draws[0])  # by a trial; fewer where videos turn out to be unreadable

    def extract(self, networks: Mapping[str, tuple[features.Network, int | None]]) -> dict[str, features.Features]:
        """Features by each network, of the clips that the trials (the first so many of them) take."""
        wanted = {
            name: (network, [self.clips[i] for i in np.unique(np.concatenate(self.draws[:most]))])
            for name, (network, most) in networks.items()
        }
        total = sum(len(some) for _, some in wanted.values())
        with _bar(self.settings, total, f"{' and '.join(wanted)}, {self.name}") as bar:
            found = features.extract_all(
                self.videos, list(wanted.values()), self.protocol,
                cache=self.settings.cache, on_bad=self.settings.on_bad, progress=bar.update,
            )  # fmt: skip
        self.skipped += [entry for entry in found[0].skipped if entry not in self.skipped]
        self.compared = len(self.trial(0, found[0]))
        return dict(zip(wanted, found, strict=True))

    def trial(self, number: int, found: features.Features) -> np.ndarray:
        """The rows of `found` that a trial takes, unreadable videos' left out."""
        rows = {clip: row for row, clip in enumerate(found.clips)}
        return np.array([rows[self.clips[i]] for i in self.draws[number] if self.clips[i] in rows], int)

    def samples(self) -> list[np.ndarray]:
        """The first clips of different videos, as the network is shown them."""
        found: list[np.ndarray] = []
        bad = {name for name, _ in self.skipped}
        by_video = {self.clips[i].video: self.clips[i] for i in reversed(self.draws[0].tolist())}
        readable = (clip for video, clip in sorted(by_video.items()) if self.videos.videos[video].name not in bad)
        for clip in itertools.islice(readable, SAMPLES):
            frames = self.videos.videos[clip.video].read(list(clip.indices))
            found.append(preprocess.prepare(frames, self.protocol))
        return found

    def describe(self) -> dict[str, Any]:
        """What a result says of this side."""
        told = words.describe(self.videos)
        told |= {"clips": len(self.clips), "clips_compared": self.compared}
        return told | {"skipped": [*told["skipped"], *map(list, self.skipped)]}


def evaluate(
    real: VideoSet, fake: VideoSet, protocol: Protocol | None, metrics: Sequence[str] = DISTANCES,
    weights: Mapping[str, Mapping[str, Any]] | None = None, settings: Settings | None = None,
) -> Evaluation:  # fmt: skip
    """Measures `fake` against `real`.

    Args:
      real: true videos.
      fake: generated videos; for "l1", "lpips" and "identity" named as their originals.
      protocol: how; not needed if all metrics are of PAIRED, which compare whole videos as they are.
      metrics: of METRICS.
      weights: parameters of the networks that the metrics need (see NEEDS), by "i3d", "face", "reid", "lpips".
      settings: how to run.

    Raises:
      BadVideo: naming a video that cannot be used.
      ValueError: unknown metrics, missing weights, or two sides that cannot be compared.
    """
    settings, weights, started = settings or Settings(), weights or {}, time.monotonic()
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"no metric {sorted(unknown)}: there are {', '.join(METRICS)}")
    if missing := {NEEDS[m] for m in metrics if m in NEEDS} - set(weights):
        raise ValueError(f"{', '.join(metrics)} need the weights of {sorted(missing)}")
    by_clips, by_videos = [m for m in metrics if m not in PAIRED], [m for m in metrics if m in PAIRED]
    found: dict[str, Any] = {}
    sides: list[_Side] = []
    told: Mapping[str, Any] = WHOLE
    warnings: list[str] = []
    if by_clips:
        if protocol is None:
            raise ValueError(f"{', '.join(by_clips)}: say under which protocol")
        sides, found = _by_clips(real, fake, protocol, by_clips, weights, settings)
        told = dataclasses.asdict(protocol) | {"in_words": words.in_words(protocol)}
        warnings = words.warnings_of_numbers(found, protocol)
    left_out: list[tuple[str, str]] | None = [] if settings.on_bad == "skip" else None
    if by_videos:
        found |= paired.measure(real, fake, by_videos, weights, left_out, progress=settings.progress)
    described = {s.name: s.describe() for s in sides} or {"real": words.describe(real), "fake": words.describe(fake)}
    used = {side.name: side.videos for side in sides} or {"real": real, "fake": fake}
    known = described["fake"]["skipped"]
    known += [list(entry) for entry in dict.fromkeys(left_out or []) if list(entry) not in known]
    result = {
        "format": FORMAT,
        "metrics": found,
        "protocol": told,
        **described,
        "warnings": [
            *warnings,
            *words.warnings_of_files(used["real"], used["fake"], {k: len(v["skipped"]) for k, v in described.items()}),
        ],
        "seed": settings.seed,
        "error_bars": {"bootstrap_draws": settings.bootstrap, "floor_draws": settings.floor},
        "bad_videos": {"error": "end the run", "skip": "are left out"}[settings.on_bad],
        "weights": {NEEDS[m]: features.tree_fingerprint(weights[NEEDS[m]]) for m in metrics if m in NEEDS},
        "versions": words.versions(),
        "seconds": round(time.monotonic() - started, 1),
    }
    return Evaluation(
        result, {side.name: side.samples() for side in sides} or paired.samples(real, fake, SAMPLES, left_out)
    )


def _by_clips(
    real: VideoSet,
    fake: VideoSet,
    protocol: Protocol,
    metrics: Sequence[str],
    weights: Mapping[str, Any],
    settings: Settings,
) -> tuple[list[_Side], dict[str, Any]]:
    """Both sides' clips, and the metrics that compare clips."""
    if settings.cache is not None:
        files.check_writable(pathlib.Path(settings.cache) / "features")  # before hours of work
    if protocol.resolution is None:
        real, fake = _of_one_size(real, fake, protocol, settings)
    first, second = (_Side(name, side, protocol, settings) for name, side in (("real", real), ("fake", fake)))
    networks: dict[str, tuple[features.Network, int | None]] = {}  # and how many trials' clips they are shown
    distances = [m for m in DISTANCES if m in metrics]
    if distances:
        networks["I3D"] = (features.I3DNetwork(weights["i3d"], protocol, settings.batch_size), None)
    for metric in (m for m in CONTENT if m in metrics):
        judge = content.ContentNetwork(CONTENT[metric], weights[NEEDS[metric]], unit_vectors=settings.unit_vectors)
        networks[metric] = (judge, 1)
    x, y = first.extract(networks), second.extract(networks)
    found = _distances(first, second, x["I3D"], y["I3D"], distances, settings) if distances else {}
    for metric in (name for name in networks if name != "I3D"):
        found[metric] = _content(x[metric], y[metric], networks[metric][0])
    return [first, second], found


def _of_one_size(real: VideoSet, fake: VideoSet, protocol: Protocol, settings: Settings) -> tuple[VideoSet, VideoSet]:
    """Both sides, for a protocol that does not resize: as they are, or without the videos of other sizes than most have.

    Raises ValueError, naming two that differ, unless such are to be left out and both sides have some of one size.
    """
    counts = [collections.Counter(video.size for video in side.videos) for side in (real, fake)]
    if len(counts[0] | counts[1]) == 1:
        return real, fake
    common = sorted(set(counts[0]) & set(counts[1]))
    if settings.on_bad != "skip" or not common:
        one = real.videos[0]
        side, odd = next((s, v) for s in (real, fake) for v in s.videos if v.size != one.size)
        raise ValueError(
            f"{one.name} of {real.where} has {one.size} px, {odd.name} of {side.where} {odd.size}, and {protocol.name} does "
            "not resize: bring all to one size, or override its resolution, as in --override resolution=128"
        )
    # The size that leaves the smaller side the most videos, then both together.
    kept = max(common, key=lambda size: (min(c[size] for c in counts), sum(c[size] for c in counts)))
    return _only(real, kept, protocol), _only(fake, kept, protocol)


def _only(side: VideoSet, size: str, protocol: Protocol) -> VideoSet:
    reason = f"px where {size} are compared: {protocol.name} does not resize"
    odd = tuple((v.name, f"{v.size} {reason}") for v in side.videos if v.size != size)
    kept = tuple(v for v in side.videos if v.size == size)
    return dataclasses.replace(side, videos=kept, skipped=(*side.skipped, *odd))


def _distances(
    real: _Side, fake: _Side, x: features.Features, y: features.Features, wanted: list[str], settings: Settings
) -> dict[str, Any]:
    """FVD and KVD over the trials, with their error bars; `x` and `y` are I3D's features of the two sides."""
    protocol = real.protocol
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "fvd": lambda a, b: frechet_distance(a, b, ddof=protocol.ddof),
        "kvd": kernel_distance,
    }
    redrawn = [side.name for side in (real, fake) if protocol.trials > 1 and len(side.clips) > len(side.draws[0])]
    rows = [(real.trial(i, x), fake.trial(i, y)) for i in range(protocol.trials if redrawn else 1)]
    found: dict[str, Any] = {}
    with _bar(settings, len(rows) * len(wanted), "trials", "distance") as bar:
        for name in wanted:
            values = []
            for a, b in rows:
                values.append(measures[name](x.values[a], y.values[b]))
                bar.update(1)
            found[name] = {"value": float(np.mean(values)), "trials": values, "redrawn": redrawn}
            if redrawn:
                found[name]["std"] = float(np.std(values))
    a, b = rows[0]
    sizes = {"clips_real": len(a), "clips_fake": len(b), "dimensions": x.values.shape[1]}
    for name in wanted:
        found[name] |= sizes
    groups = len(set(x.groups[a].tolist())), len(set(y.groups[b].tolist()))
    if settings.bootstrap and min(groups) > 1 and min(len(a), len(b)) > 2:
        errors = uncertainty.bootstrap(
            x.values[a], x.groups[a], y.values[b], y.groups[b],
            ddof=protocol.ddof, draws=settings.bootstrap, seed=settings.seed,
        )  # fmt: skip
        for name in wanted:
            found[name] |= {"standard_error": errors[name], "sources_real": groups[0], "sources_fake": groups[1]}
    if settings.floor and len(np.unique(x.groups)) > 3 and len(b) > 1:
        bounds = uncertainty.floor(
            x.values, x.groups, y.values[b],
            ddof=protocol.ddof, most=protocol.count, draws=settings.floor, seed=settings.seed,
        )  # fmt: skip
        for name in wanted:
            found[name] |= {"floor": bounds["floor"][name]._asdict(), "at_the_floors_n": bounds["fake"][name]._asdict()}
    if settings.extrapolate and "fvd" in wanted:
        line = uncertainty.extrapolate(x.values[a], y.values[b], ddof=protocol.ddof, seed=settings.seed)
        found["fvd"]["extrapolated"] = line._asdict()
    return found


def _content(real: features.Features, fake: features.Features, network: features.Network) -> dict[str, Any]:
    """ACD of both sides: the generated one's is the result, the real one's says what is natural."""
    values = fake.values[:, 0].astype(np.float64)
    return {
        "value": float(values.mean()),
        "standard_error": float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None,
        "real": float(real.values[:, 0].astype(np.float64).mean()),
        "clips_fake": len(values),
        "clips_real": len(real.values),
        "network": network.fingerprint,
    }


def _bar(settings: Settings, total: int, what: str, unit: str = "clip") -> Bar:
    return progress_bar(total, what, unit, shown=settings.progress)
