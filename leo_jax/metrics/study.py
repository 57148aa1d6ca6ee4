"""A user study in one file: a page of pairs of videos, and what the saved answers say.

Nobody in front of the page can tell the systems apart: order and sides are drawn for each rater, and which of a pair is
"x" and which "y" is drawn when the page is made. `key.json`, kept by whoever runs the study, undoes that.
"""

import base64
import hashlib
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from leo_jax import files, video
from leo_jax.metrics import preprocess
from leo_jax.metrics.reconstruction import by_stem
from leo_jax.metrics.video_set import Video, VideoSet
from leo_jax.progress import progress_bar

TEMPLATE = pathlib.Path(__file__).parents[1] / "assets" / "study.html"
KEY_FORMAT = "leo_jax study key, version 1"
QUESTIONS = (
    {"id": "realistic", "text": "Which video looks more realistic?"},
    {"id": "coherent", "text": "In which video does the person move more coherently and stay the same person?"},
    {"id": "repeats", "text": "Does the motion repeat itself?", "each": True},
)
DRAWS = 2000  # of the intervals' bootstrap


class Share(NamedTuple):
    """Part of the answers, in percent, with its 95 % interval."""

    percent: float
    low: float
    high: float


def make(
    a: VideoSet, b: VideoSet, out: files.PathLike, *, fps: float = 25.0, count: int | None = None, frames: int | None = None,
    seed: int = 0, progress: bool = False,
) -> pathlib.Path:  # fmt: skip
    """Writes `out`/index.html, which holds everything, and `out`/key.json.

    Args:
      a: videos of one system.
      b: videos of the other. Videos of equal names are paired; if no names agree, pairs are drawn.
      out: folder to make.
      fps: of both sides.
      count: of pairs; None takes all there are.
      frames: both videos of a pair are cut to it, and always to the shorter one.
      seed: of pairing and hiding.
      progress: show a bar.

    Returns:
      The page.

    Raises:
      ValueError: there are no pairs, or fewer than `count`; or a number makes no sense.
      OSError: `out` cannot be written.
    """
    out = pathlib.Path(out)
    for name in ("index.html", "key.json"):
        files.check_writable(out / name)
    for what, value in (("fps", fps), ("count", count), ("frames", frames)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{what}={value} must be above 0")
    random = np.random.default_rng([seed, 7])
    matched = _pairs(a, b, random)
    if not matched or len(matched) < (count or 1):
        raise ValueError(
            f"{len(a.videos)} and {len(b.videos)} videos give {len(matched)} pairs, {count or 1} are needed: lower --count, or "
            "name videos alike that belong together"
        )
    if count is not None:
        matched = [matched[i] for i in np.sort(random.permutation(len(matched))[:count])]
    shown, key = [], []
    with tempfile.TemporaryDirectory() as folder, progress_bar(len(matched), "study", "pair", shown=progress) as bar:
        for number, pair in enumerate(matched):
            hidden = ["x", "y"] if random.random() < 0.5 else ["y", "x"]
            length = min(v.length for v in pair) if frames is None else min(frames, *(v.length for v in pair))
            uris = [_as_mp4(v, length, fps, pathlib.Path(folder)) for v in pair]
            shown.append({"id": number, **dict(zip(hidden, uris, strict=True))})
            key.append({"id": number, "a": pair[0].name, "b": pair[1].name, "a_is": hidden[0]})
            bar.update()
    identity = hashlib.sha256(json.dumps([a.fingerprint, b.fingerprint, key, fps]).encode()).hexdigest()[:16]
    study = {"id": identity, "questions": QUESTIONS, "pairs": shown}
    content = json.dumps(study).replace("</", "<\\/")  # so that no text can end the page's script element
    sides = {"a": a.where, "b": b.where, "seed": seed, "fps": fps}
    described = {"format": KEY_FORMAT, "study": identity, **sides, "questions": QUESTIONS, "pairs": key}
    files.atomic_write(out / "key.json", json.dumps(described, indent=1) + "\n")
    files.atomic_write(out / "index.html", TEMPLATE.read_text().replace("__STUDY__", content))
    return out / "index.html"


def tally(key_path: files.PathLike, answers: Sequence[files.PathLike]) -> dict[str, Any]:
    """Counts saved answers.

    Args:
      key_path: the study's folder, or its key.json.
      answers: files that the page saved; of a rater's several files the last one counts.

    Returns:
      For each question its shares (`Share` of "a", "b" and "same"; of "yes" for "a" and "b" where both sides were asked about),
      number of answers, and Krippendorff's alpha (None with one rater or no variety); also raters and pairs, and
      "replaced": the files that do not count, by rater.

    Raises:
      ValueError: a file is no answers, or those of another study.
    """
    key = _load_key(key_path)
    rows, replaced = _answers(key, answers)
    raters = sorted({rater for rater, *_ in rows})
    found: dict[str, Any] = {
        "study": key["study"],
        "a": key["a"],
        "b": key["b"],
        "raters": raters,
        "replaced": replaced,
        "questions": {},
    }
    found["pairs"] = len({pair for _, pair, *_ in rows})
    for question in key["questions"]:
        name, sides = question["id"], ("a", "b") if question.get("each") else (None,)
        entry: dict[str, Any] = {"text": question["text"], "answers": 0}
        for side in sides:
            asked = f"{name}:{side}" if side else name
            some = [(rater, pair, answer) for rater, pair, what, answer in rows if what == asked]
            entry["answers"] += len(some)
            wanted = {"yes": "yes"} if side else {"a": "a", "b": "b", "same": "same"}
            shares = {label: share(some, value) for label, value in wanted.items()} if some else {}
            entry |= {side: shares.get("yes")} if side else shares
            entry[f"alpha_{side}" if side else "alpha"] = alpha(some)
        found["questions"][name] = entry
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """A tally as Markdown tables."""
    show = lambda s: "" if s is None else f"{s.percent:.1f} % [{s.low:.1f}, {s.high:.1f}]"
    told = lambda value: "not defined" if value is None else f"{value:.2f}"
    lines = [
        f"A: {found['a']}; B: {found['b']}. {len(found['raters'])} raters, {found['pairs']} pairs; 95 % intervals.", "",
        "| question | A | B | cannot tell | answers | raters' agreement (alpha) |", "|" + " --- |" * 6,
    ]  # fmt: skip
    for entry in found["questions"].values():
        agreement = (
            told(entry["alpha"]) if "alpha" in entry else f"A {told(entry['alpha_a'])}, B {told(entry['alpha_b'])}"
        )
        cells = [entry["text"], show(entry.get("a")), show(entry.get("b")), show(entry.get("same"))]
        lines.append(f"| {' | '.join(cells)} | {entry['answers']} | {agreement} |")
    for rater, paths in found["replaced"].items():
        lines += [
            "",
            f"Of {rater} the last file counts, not {', '.join(paths)}: two raters of one name have to be told apart.",
        ]
    return "\n".join(lines) + "\n"


def share(rows: Sequence[tuple[str, int, str]], wanted: str, seed: int = 0) -> Share:
    """Part of (rater, pair, answer) rows whose answer is `wanted`.

    The interval is the widest of three: Wilson's for independent answers, and those of drawing raters, or pairs, anew.
    """
    hits = np.array([answer == wanted for *_, answer in rows], float)
    n, part, z = len(hits), hits.mean(), 1.96
    middle, half = part + z**2 / (2 * n), z * np.sqrt(part * (1 - part) / n + z**2 / (4 * n**2))
    bounds = [((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))]
    random = np.random.default_rng([seed, 8])
    for of in (0, 1):
        names, where = np.unique([str(row[of]) for row in rows], return_inverse=True)
        weights = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)[:, where]
        bounds.append(tuple(np.percentile(weights @ hits / weights.sum(axis=1), [2.5, 97.5])))
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    return Share(100 * float(part), 100 * max(float(low), 0.0), 100 * min(float(high), 1.0))


def alpha(rows: Sequence[tuple[str, int, str]]) -> float | None:
    """Krippendorff's alpha for nominal answers: 1 for full agreement, 0 for as much as chance gives.

    None where no pair was judged twice or all answers are the same, where it is not defined.
    """
    kinds = sorted({answer for *_, answer in rows})
    pairs: dict[int, list[int]] = {}
    for _, pair, answer in rows:
        pairs.setdefault(pair, []).append(kinds.index(answer))
    coincidences = np.zeros((len(kinds), len(kinds)))
    for values in (v for v in pairs.values() if len(v) > 1):
        counts = np.bincount(values, minlength=len(kinds))
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(values) - 1)
    return _alpha(coincidences)


def _alpha(coincidences: Float[np.ndarray, "k k"]) -> float | None:
    totals = coincidences.sum(axis=1)
    n = totals.sum()
    expected = (n**2 - np.sum(totals**2)) / (n - 1) if n > 1 else 0.0
    observed = n - np.trace(coincidences)
    return float(1 - observed / expected) if expected > 0 else None


def _pairs(a: VideoSet, b: VideoSet, random: np.random.Generator) -> list[tuple[Video, Video]]:
    """Videos of equal names; if there are none, random pairs."""
    first, second = by_stem(a), by_stem(b)
    matched = [(video, second[name]) for name, video in first.items() if name in second]
    if matched:
        return matched
    return list(zip(*([side.videos[i] for i in random.permutation(len(side.videos))] for side in (a, b)), strict=False))


def _as_mp4(source: Video, length: int, fps: float, folder: pathlib.Path) -> str:
    """The first `length` frames as H.264 in a data URI: both sides coded alike, so that their files tell nothing."""
    path = folder / "clip.mp4"
    with video.VideoWriter(path, fps) as writer:
        for frame in preprocess.round_to_uint8(source.read(range(length)), "nearest"):
            writer.write(frame)
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def _load_key(path: files.PathLike) -> dict[str, Any]:
    path = pathlib.Path(path)
    path = path / "key.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no study at {path}: `leo study make` writes key.json beside the page, keep it")
    try:
        key = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(key, dict) or key.get("format") != KEY_FORMAT:
        raise ValueError(f"{path} is no study's key.json")
    return key


def _answers(
    key: Mapping[str, Any], paths: Sequence[files.PathLike]
) -> tuple[list[tuple[str, int, str, str]], dict[str, list[str]]]:
    """(rater, pair, question or question:side, answer), sides and hidden names replaced by "a" and "b".

    Also the files that do not count, by rater: there is a later one of the same name.
    """
    if not paths:
        raise ValueError("no answers: give the files that raters saved")
    a_is = {pair["id"]: pair["a_is"] for pair in key["pairs"]}
    by_rater: dict[str, list[tuple[files.PathLike, list[tuple[str, int, str, str]]]]] = {}
    for path in paths:
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError(f"no answers at {path}: give the files that raters saved")
        try:
            content = json.loads(pathlib.Path(path).read_text())
            if content["study"] != key["study"]:
                raise ValueError(f"{path} answers another study ({content['study']}, not {key['study']})")
            rater, rows = content["rater"], []
            if not isinstance(rater, str) or not rater:
                raise TypeError(f"the rater is {rater!r}")
            seen: set[int] = set()
            for trial in content["trials"]:
                if trial["pair"] in seen:
                    raise TypeError(f"pair {trial['pair']} stands there twice")
                seen.add(trial["pair"])
                rows += [(rater, trial["pair"], *told) for told in _told(trial, key["questions"], a_is[trial["pair"]])]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no file of answers ({type(error).__name__}: {error})") from error
        by_rater.setdefault(rater, []).append((path, rows))
    replaced = {rater: [str(path) for path, _ in found[:-1]] for rater, found in by_rater.items() if len(found) > 1}
    return [row for found in by_rater.values() for row in found[-1][1]], replaced


def _told(trial: Mapping[str, Any], questions: Sequence[Mapping[str, Any]], a_is: str) -> list[tuple[str, str]]:
    """(question or question:side, answer) of one pair, hidden names undone. TypeError on what the page does not write."""
    hidden = {side: trial[side] for side in ("left", "right")}
    if sorted(map(str, hidden.values())) != ["x", "y"]:
        raise TypeError(f"pair {trial['pair']} shows {hidden}")
    system = {side: "a" if name == a_is else "b" for side, name in hidden.items()}
    asked: dict[str, tuple[str, dict[str, str]]] = {}  # as the page calls it → (as the tally does, answers)
    for question in questions:
        if question.get("each"):
            asked |= {
                f"{question['id']}:{s}": (f"{question['id']}:{system[s]}", {"yes": "yes", "no": "no"}) for s in system
            }
        else:
            asked[question["id"]] = (question["id"], {**system, "same": "same"})
    found = []
    for what, answer in dict(trial["answers"]).items():
        if what not in asked or not isinstance(answer, str) or answer not in asked[what][1]:
            raise TypeError(f"pair {trial['pair']} answers {what!r} by {answer!r}")
        found.append((asked[what][0], asked[what][1][answer]))
    return found
