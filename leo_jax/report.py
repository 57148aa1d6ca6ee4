"""An evaluation as files: JSON with every choice, a Markdown table, a page with samples; and several side by side."""

import base64
import html
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from leo_jax import files, pages
from leo_jax.metrics import paper, words
from leo_jax.metrics.evaluate import FORMAT, Evaluation

DIGITS = {
    "fvd": 2,
    "kvd": 2,
    "acd-face": 3,
    "acd-body": 3,
    "l1": 4,
    "lpips": 4,
    "identity": 3,
    "akd": 3,
    "mkr": 4,
    "aed": 4,
}
PARTS = {"metrics": dict, "protocol": dict, "real": dict, "fake": dict, "warnings": list, "weights": dict}
SAMPLE_MS = 120  # of a frame in the page: a protocol knows spacings, not seconds


def write(evaluation: Evaluation, out: files.PathLike) -> list[pathlib.Path]:
    """Writes `out` (.json) and beside it the same as .md and .html; returns the three paths."""
    out = check_name(out)
    contents = {
        ".json": json.dumps(evaluation.result, indent=1) + "\n",
        ".md": markdown(evaluation.result),
        ".html": page(evaluation),
    }
    for suffix, content in contents.items():
        files.atomic_write(out.with_suffix(suffix), content)
    return [out.with_suffix(suffix) for suffix in contents]


def check_name(out: files.PathLike) -> pathlib.Path:
    """`out` as a path. Raises ValueError unless it ends in .json, OSError unless it and its companions can be written."""
    out = pathlib.Path(out)
    if out.suffix != ".json":
        raise ValueError(f"--out={out} should end in .json; the table and the page get its name with .md and .html")
    for suffix in (".json", ".md", ".html"):
        files.check_writable(out.with_suffix(suffix))
    return out


def load(path: files.PathLike) -> dict[str, Any]:
    """A result that `write` wrote. Raises ValueError for any other file, FileNotFoundError for none."""
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"no result at {path}: `leo evaluate --out={path}` would write one")
    try:
        result = json.loads(pathlib.Path(path).read_text())
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} is no result of `leo evaluate`")
    if missing := [name for name, kind in PARTS.items() if not isinstance(result.get(name), kind)]:
        raise ValueError(f"{path} is no whole result of `leo evaluate`: it lacks {', '.join(missing)}")
    return result


def markdown(result: Mapping[str, Any]) -> str:
    """One evaluation as Markdown."""
    parts = [f"# {_title(result)}", "", *pages.rows_to_markdown(metrics_table(result)), ""]
    parts += [f"- **Warning:** {warning}" for warning in result["warnings"]] + [""] * bool(result["warnings"])
    parts += [f"Protocol `{result['protocol']['name']}`: {result['protocol']['in_words']}.", ""]
    parts += [*pages.rows_to_markdown(sides_table(result)), "", _provenance(result), ""]
    return "\n".join(parts)


def page(evaluation: Evaluation) -> str:
    """One evaluation as a page that needs nothing else: tables, warnings, and the first clips of each side, moving."""
    result = evaluation.result
    body = [f"<h1>{html.escape(_title(result))}</h1>", pages.rows_to_html(metrics_table(result))]
    if result["warnings"]:
        items = "".join(f"<li class=warning>{html.escape(w)}</li>" for w in result["warnings"])
        body.append(f"<h2>Before comparing</h2><ul>{items}</ul>")
    for side, what in (("real", "Real"), ("fake", "Generated")):
        clips = evaluation.samples.get(side, [])
        if clips:
            images = "".join(f'<img alt="{what} clip {i}" src="{moving(clip)}">' for i, clip in enumerate(clips, 1))
            body.append(f"<h2>{what}</h2><div class=samples>{images}</div>")
    name, words = (html.escape(result["protocol"][key]) for key in ("name", "in_words"))
    body.append(f"<h2>How it was measured</h2><p>Protocol <code>{name}</code>: {words}.</p>")
    body += [pages.rows_to_html(sides_table(result)), f"<p class=quiet>{html.escape(_provenance(result))}</p>"]
    choices = json.dumps({k: v for k, v in result.items() if k != "metrics"}, indent=1)
    body.append(f"<details><summary>Everything that was chosen</summary><pre>{html.escape(choices)}</pre></details>")
    return pages.document(_title(result), body)


def metrics_table(result: Mapping[str, Any]) -> pages.Table:
    """One row a metric: the value and all that is known of its error."""
    head = [
        "metric",
        "value",
        "± re-draws",
        "standard error",
        "real side",
        "real against real",
        "generated, at that N",
        "N = ∞",
        "N",
    ]
    rows: pages.Table = []
    for name, entry in ordered(result["metrics"]):
        show = lambda value, name=name: "" if value is None else f"{value:.{DIGITS[name]}f}"
        spread = lambda key, entry=entry, show=show: (
            f"{show(entry[key]['mean'])} ± {show(entry[key]['std'])} (N = {entry[key]['clips']})"
            if key in entry
            else ""
        )
        line = entry.get("extrapolated")
        rows.append([
            name.upper(), show(entry["value"]), show(entry.get("std")), show(entry.get("standard_error")),
            show(entry.get("real")), spread("floor"), spread("at_the_floors_n"),
            f"{show(line['limit'])} ± {show(line['error'])}" if line else "", _count(entry),
        ])  # fmt: skip
    return _without_empty_columns([head, *rows])


def sides_table(result: Mapping[str, Any]) -> pages.Table:
    """What was compared."""
    rows = [["", "real", "generated"]]
    names = {
        "where": "videos from", "videos": "videos", "clips_compared": "clips compared", "clips": "clips to draw from",
        "sizes": "frame sizes, px", "stored_as": "stored as", "stride": "source frames per frame",
        "frames_a_second": "frames a second, by the files",
        "value_range": "values", "fingerprint": "fingerprint",
    }  # fmt: skip
    for key, what in names.items():
        values = [result[side].get(key) for side in ("real", "fake")]
        values = [v[:16] if key == "fingerprint" and v else v for v in values]
        if any(v not in (None, []) for v in values):
            rows.append([what, *map(_listed, values)])
    left_out = [len(result[side]["skipped"]) for side in ("real", "fake")]
    return [*rows, ["left out", *map(str, left_out)]] if any(left_out) else rows


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v:g}" if isinstance(v, float) else v for v in value)
    return "" if value is None else str(value)


def compare(
    results: Sequence[tuple[str, Mapping[str, Any]]], dataset: str | None = None
) -> tuple[pages.Table, list[str]]:
    """Systems side by side, the paper's figures below them, and why some may not be compared.

    Args:
      results: (label, result) of each system.
      dataset: of `paper.DATASETS`, or None for every row of the paper under the first result's protocol.

    Returns:
      The table and the notes.
    """
    if not results:
        raise ValueError("nothing to compare: give results of `leo evaluate`")
    protocol = results[0][1]["protocol"]["name"]
    reported = paper.rows(dataset, protocol)
    names = {name for _, result in results for name in result["metrics"]} | {n for row in reported for n in row.values}
    metrics = [name for name in DIGITS if name in names]
    rows: pages.Table = [["system", *(name.upper() for name in metrics), "N", "protocol"]]
    for label, result in results:
        entries = [result["metrics"].get(name) for name in metrics]
        counts = [_count(entry) for entry in entries if entry]
        cells = ["" if entry is None else _cell(name, entry) for name, entry in zip(metrics, entries, strict=True)]
        rows.append([label, *cells, counts[0] if counts else "", result["protocol"]["name"]])
    for row in reported:
        cells = [_number(name, *row.values[name]) if name in row.values else "" for name in metrics]
        system = row.system if dataset else f"{row.system}: {row.dataset}"
        rows.append([system, *cells, row.clips, row.protocol or "not stated"])
    return _without_empty_columns(rows), _doubts(results) + _doubts_of_the_paper(results, reported)


def write_comparison(
    paths: Sequence[files.PathLike], out: files.PathLike | None = None, dataset: str | None = None
) -> str:
    """The Markdown comparison of saved results; also written to `out` (.md or .html) if given.

    Labels are the results' own, or the files' names; so is the data set, if all results agree.
    """
    results = [load(path) for path in paths]
    labelled = [
        (found.get("label") or pathlib.Path(path).stem, found) for path, found in zip(paths, results, strict=True)
    ]
    remembered = {found.get("dataset") for found in results}
    dataset = dataset or (remembered.pop() if len(remembered) == 1 else None)
    rows, doubts = compare(labelled, dataset)
    notes = [("Not comparable", note) for note in doubts]
    notes += [(f"Of {label}", warning) for label, found in labelled for warning in found["warnings"]]
    lines = [*pages.rows_to_markdown(rows), "", *(f"- **{kind}:** {note}" for kind, note in notes)]
    text = "\n".join(lines).rstrip() + "\n"
    if out is not None:
        suffix = pathlib.Path(out).suffix
        if suffix not in (".md", ".html"):
            raise ValueError(f"--out={out}: a comparison is written as .md or .html")
        items = "".join(f"<li class=warning>{html.escape(f'{kind}: {note}')}</li>" for kind, note in notes)
        title = f"Comparison: {dataset}" if dataset else "Comparison"
        body = [f"<h1>{title}</h1>", pages.rows_to_html(rows), f"<ul>{items}</ul>"]
        files.check_writable(out)
        files.atomic_write(out, text if suffix == ".md" else pages.document(title, body))
    return text


def moving(clip: UInt8[np.ndarray, "t h w 3"], quality: int = 85) -> str:
    """A clip as an animated WebP in a data URI."""
    first, *rest = [Image.fromarray(frame) for frame in clip]
    content = io.BytesIO()
    first.save(content, "WEBP", save_all=True, append_images=rest, duration=SAMPLE_MS, loop=0, quality=quality)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def ordered(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Metrics in the order of the tables."""
    return [(name, metrics[name]) for name in DIGITS if name in metrics]


def _doubts(results: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What differs between results that should be alike."""
    first_label, first = results[0]
    notes = []
    for label, other in results[1:]:
        ways = [{k: v for k, v in r["protocol"].items() if k not in ("in_words", "source")} for r in (first, other)]
        if ways[0] != ways[1]:
            notes.append(
                f"{label} is under {other['protocol']['name']}, {first_label} under {first['protocol']['name']}"
            )
        if other["real"]["fingerprint"] != first["real"]["fingerprint"]:
            notes.append(f"{label} and {first_label} were compared with different real videos")
        for what, key in (
            ("spacing", "stride"),
            ("value range", "value_range"),
            ("list of left-out videos", "skipped"),
        ):
            if other["real"].get(key) != first["real"].get(key):
                notes.append(f"{label} and {first_label} have real videos with another {what}")
        if any(
            other["weights"][name] != first["weights"][name] for name in set(other["weights"]) & set(first["weights"])
        ):
            notes.append(f"{label} and {first_label} were scored by networks with different weights")
        for name in sorted(set(other["metrics"]) & set(first["metrics"])):
            networks = [result["metrics"][name].get("network") for result in (first, other)]
            if networks[0] != networks[1] and other["weights"] == first["weights"]:
                notes.append(f"{name.upper()} of {label} and {first_label} is of features that were taken differently")
        for name in ("fvd", "kvd"):
            pair = [result["metrics"].get(name) for result in (first, other)]
            if all(pair) and _count(pair[0]) != _count(pair[1]):
                notes.append(
                    f"{name.upper()} of {label} has N = {_count(pair[1])}, that of {first_label} {_count(pair[0])}"
                )
                break
    return notes


def _doubts_of_the_paper(
    results: Sequence[tuple[str, Mapping[str, Any]]], reported: Sequence[paper.Reported]
) -> list[str]:
    """What differs between results and the measurements that the paper reports."""
    protocols = sorted({row.protocol for row in reported if row.protocol})
    notes = []
    for label, result in results:
        ways = [] if result["protocol"]["name"] in protocols or not protocols else [f"under {', '.join(protocols)}"]
        entries = [result["metrics"][name] for name in words.DISTANCES if name in result["metrics"]]
        sides = ("clips_fake",) if any(row.few for row in reported) else ("clips_real", "clips_fake")
        counts = {
            _count(entry) for entry in entries if any(entry.get(side, words.USUAL) != words.USUAL for side in sides)
        }
        if protocols and counts:
            what = f"{words.USUAL} generated clips" if len(sides) == 1 else f"{words.USUAL} clips a side"
            ways.append(f"of {what}, not {', '.join(sorted(counts))}")
        if ways:
            notes.append(f"the paper's figures are {' and '.join(ways)}, unlike those of {label}")
    return notes


def _cell(name: str, entry: Mapping[str, Any]) -> str:
    """The value with ± over re-draws, or with the standard error in brackets where nothing was re-drawn."""
    if entry.get("std") is None and entry.get("standard_error") is not None:
        return f"{_number(name, entry['value'])} (s.e. {entry['standard_error']:.{DIGITS[name]}f})"
    return _number(name, entry["value"], entry.get("std"))


def _number(name: str, value: float, spread: float | None = None) -> str:
    digits = DIGITS[name]
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _count(entry: Mapping[str, Any]) -> str:
    if "clips_real" in entry:
        real, fake = entry["clips_real"], entry["clips_fake"]
        return str(real) if real == fake else f"{real} / {fake}"
    return str(entry.get("videos", entry.get("frames", "")))


def _title(result: Mapping[str, Any]) -> str:
    return f"{result.get('label') or result['fake']['where']}: {result['protocol']['name']}"


def _provenance(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    hashes = ", ".join(f"{name} {value[:12]}" for name, value in result["weights"].items())
    return f"Seed {result['seed']}; {result['seconds']} s; weights {hashes or 'none'}; {versions}."


def _without_empty_columns(rows: pages.Table) -> pages.Table:
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [[row[i] for i in kept] for row in rows]
