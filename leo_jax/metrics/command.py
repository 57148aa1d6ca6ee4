"""`leo evaluate` up to the files it writes: opens both sides, loads the weights that the metrics need, measures."""

import ast
import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from leo_jax.data import storage
from leo_jax.files import PathLike
from leo_jax.metrics import generated, paper, reconstruction, videos, words
from leo_jax.metrics.evaluate import FORMAT, METRICS, NEEDS, Evaluation, Settings, evaluate
from leo_jax.metrics.paired import PAIRED
from leo_jax.metrics.protocols import PROTOCOLS, Protocol, protocol
from leo_jax.video import BadVideo

KEYPOINT_METRICS = {
    "akd": reconstruction.average_keypoint_distance,
    "aed": reconstruction.average_euclidean_distance,
}


@dataclasses.dataclass(frozen=True)
class Side:
    """Where one side's videos are, and what only their owner knows about them.

    Attributes:
      path: see `videos.open_videos`; of the generated side also a model.
      stride: source frames from one stored frame to the next; None is 1 where the protocol compares neighbouring frames, and
        asked for where it does not. A model knows its own.
      value_range: of float arrays.
      split: of prepared data.
    """

    path: PathLike
    stride: int | None = None
    value_range: str | None = None
    split: str | None = None


def run(
    real: Side | None, fake: Side | None, *, protocol_name: str | None = None, overrides: Sequence[str] = (),
    metrics: Sequence[str] = (), weight_files: Mapping[str, PathLike | None] | None = None,
    keypoints: tuple[PathLike, PathLike] | None = None, label: str | None = None, dataset: str | None = None,
    settings: Settings | None = None, load_model: Callable[[PathLike], Any] | None = None,
    choices: generated.Choices | None = None,
) -> Evaluation:  # fmt: skip
    """Everything between the command line and the result.

    Args:
      real: true videos; not needed if only keypoints are compared.
      fake: generated videos.
      protocol_name: of `protocols.PROTOCOLS`; needed by all metrics but PAIRED and KEYPOINT_METRICS.
      overrides: "field=value" changes of the protocol.
      metrics: of METRICS, "acd" (faces or bodies, by the weights given), "akd", "aed"; none means the protocol's own.
      weight_files: converted weights by "i3d" (None: the installed package's), "face", "reid", "lpips".
      keypoints: true and generated keypoint files, for "akd" and "aed".
      label: what tables call the generated side.
      dataset: of `paper.DATASETS`, remembered for comparisons with the paper.
      settings: see `Settings`.
      load_model: opens a `generated.Model` by its folder or name; without it the generated side has to be videos.
      choices: how a model makes its videos; None is `Choices()`.

    Raises:
      ValueError, FileNotFoundError: saying what to change, and where weights come from.
    """
    settings, files = settings or Settings(), dict(weight_files or {})
    if protocol_name is None and (not metrics or not set(metrics) <= {*PAIRED, *KEYPOINT_METRICS}):
        raise ValueError(f"say under which protocol: --protocol={'|'.join(PROTOCOLS)}")
    used = protocol(protocol_name, **parse_overrides(overrides)) if protocol_name is not None else None
    if dataset is not None:
        paper.rows(dataset, "")  # refuses an unknown one
    wanted = resolve(metrics or (used.metrics if used else ()), files)
    of_keypoints = [name for name in wanted if name in KEYPOINT_METRICS]
    of_videos = [name for name in wanted if name not in KEYPOINT_METRICS]
    measured: dict[str, Any] = {}
    if of_keypoints:
        if keypoints is None:
            raise ValueError(
                f"{', '.join(of_keypoints)} compare keypoint files: give --real_keypoints and --fake_keypoints"
            )
        measured = _of_keypoints(of_keypoints, *keypoints)
        read = {side: _keypoint_file(path) for side, path in zip(("real", "fake"), keypoints, strict=True)}
        if not of_videos:
            return Evaluation(_keypoints_alone(measured, read, label, dataset, settings), {})
    if real is None or fake is None:
        missing = [name for name, side in (("--real", real), ("--fake", fake)) if side is None]
        raise ValueError(f"{', '.join(of_videos)} compare videos: give {' and '.join(missing)} too")
    loaded = {name: load_weights(name, files.get(name)) for name in sorted({NEEDS[m] for m in of_videos if m in NEEDS})}
    first = open_side(real, "real", used, settings.on_bad)
    stored = storage.is_remote(str(fake.path)) or pathlib.Path(fake.path).exists()
    if load_model is not None and (generated.is_model(fake.path) or not stored):
        first, second = open_model(fake, first, used, of_videos, load_model, choices, settings.seed)
    elif choices not in (None, generated.Choices()):
        raise ValueError(
            f"{fake.path} holds videos: --fake_count, --fake_steps, --unconditional and --transition tell a model how to make "
            "them, leave them away"
        )
    else:
        second = open_side(fake, "fake", used, settings.on_bad)
    try:
        evaluation = evaluate(first, second, used, of_videos, loaded, settings)
    except BadVideo as error:
        if settings.on_bad == "skip" or second.made is not None or "--skip_bad" in error.reason:
            raise
        raise BadVideo(error.name, f"{error.reason}; {videos.LEAVE_OUT}") from error
    result = {**evaluation.result, "label": label, "dataset": dataset}
    result["metrics"] = {**result["metrics"], **measured}
    if of_keypoints:
        result["keypoints"] = read
    return dataclasses.replace(evaluation, result=result)


def _of_keypoints(metrics: Sequence[str], real: PathLike, fake: PathLike) -> dict[str, Any]:
    """AKD (with MKR) and AED of two keypoint files."""
    sides = [reconstruction.load_keypoints(path) for path in (real, fake)]
    measured: dict[str, Any] = {}
    for name in metrics:
        found = KEYPOINT_METRICS[name](*sides)
        measured[name] = {"value": found.pop(name), "frames": found.pop("frames")}
        measured |= {other: {"value": value} for other, value in found.items()}
    return measured


def open_side(side: Side, name: str, used: Protocol | None, on_bad: str) -> videos.VideoSet:
    """The videos of one side. Raises ValueError if their spacing has to be stated, or if `path` is a model."""
    if generated.is_model(side.path):
        raise ValueError(
            f"{side.path} is a model: give it as the generated side (--fake), or make videos with it first and give those"
        )
    if side.stride is None and name == "fake" and used is not None and used.spacing > 1:
        raise ValueError(
            f"{used.name} compares frames {used.spacing} source frames apart: state how far apart those in {side.path} "
            f"are, --fake_stride=1 (then every {used.spacing}th is taken) or --fake_stride={used.spacing} (then all)"
        )
    return videos.open_videos(
        side.path, stride=side.stride, value_range=side.value_range, split=side.split, on_bad=on_bad
    )


def open_model(
    side: Side, real: videos.VideoSet, used: Protocol | None, metrics: Sequence[str],
    load_model: Callable[[PathLike], Any], choices: generated.Choices | None, seed: int,
) -> tuple[videos.VideoSet, videos.VideoSet]:  # fmt: skip
    """Both sides where the second is made by a model: new videos, or reconstructions of the real ones for PAIRED metrics."""
    path = pathlib.Path(side.path)
    try:
        model: generated.Model = load_model(side.path)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error) if path.exists() else f"no videos at {path}, and {error}") from error
    folder = path if path.exists() else getattr(model, "directory", path)  # a shipped model is asked for by its name
    paired = [name for name in metrics if name in PAIRED]
    if not paired and used is not None:
        made = generated.videos_of(
            model, path, real, used, choices or generated.Choices(), stride=side.stride, seed=seed, folder=folder
        )
        return real, made
    if paired != list(metrics):
        raise ValueError(
            f"{', '.join(paired)} measure a model's reconstructions of the real videos, "
            f"{', '.join(name for name in metrics if name not in paired)} new videos: ask for them in two runs"
        )
    size = f"{model.size}x{model.size}"
    if "identity" in paired and real.sizes != [size]:
        raise ValueError(f"identity needs real videos of the model's {size} px, these have {', '.join(real.sizes)}")
    return generated.reconstructions(model, path, real, folder=folder)


def load_weights(name: str, path: PathLike | None) -> dict[str, Any]:
    """Parameters of "i3d", "face", "reid" or "lpips". Raises FileNotFoundError saying where they come from."""
    return importlib.import_module(f"leo_jax.convert.{name}").load(path)


def resolve(metrics: Sequence[str], weight_files: Mapping[str, PathLike | None]) -> list[str]:
    """Names of METRICS and KEYPOINT_METRICS, "acd" replaced by those that there are weights for."""
    found: list[str] = []
    for name in metrics:
        if name == "acd":
            kinds = {"acd-face": "face", "acd-body": "reid"}
            given = [metric for metric, needed in kinds.items() if weight_files.get(needed)]
            if not given:
                where = "\n".join(importlib.import_module(f"leo_jax.convert.{n}").WHERE for n in kinds.values())
                raise FileNotFoundError(f"acd needs weights of an identity network.\n{where}")
            found += given
        else:
            found.append(name)
    if unknown := set(found) - set(METRICS) - set(KEYPOINT_METRICS):
        raise ValueError(f"no metric {sorted(unknown)}: there are {', '.join((*METRICS, 'acd', *KEYPOINT_METRICS))}")
    return list(dict.fromkeys(found))


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["resolution=256", "resize=stretch"]` as a mapping; numbers and None are read as such. ValueError without a `=`."""
    found = {}
    for text in overrides:
        field, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} should be FIELD=VALUE, as in resolution=256")
        try:
            found[field.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            found[field.strip()] = value.strip()
    return found


def _keypoint_file(path: PathLike) -> dict[str, Any]:
    return {"where": str(path), "fingerprint": videos.fingerprint(pathlib.Path(path))}


def _keypoints_alone(measured, read: Mapping[str, Any], label, dataset, settings: Settings) -> dict[str, Any]:
    """A result of keypoints, which have no videos behind them."""
    sides = {name: {**told, "skipped": []} for name, told in read.items()}
    return {
        "format": FORMAT, "metrics": measured, "label": label, "dataset": dataset,
        "protocol": {"name": "pose-evaluation", "in_words": "keypoints and features as a detector gave them, frame by frame"},
        **sides, "warnings": [], "seed": settings.seed, "weights": {},
        "versions": words.versions(), "seconds": 0.0,
    }  # fmt: skip
