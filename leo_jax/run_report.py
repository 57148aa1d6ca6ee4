"""A run as a page: what each stage of a workdir learnt, drew and measured. Reads files alone, so it can be made at any time."""

import base64
import html
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from leo_jax import files
from leo_jax.pages import Table, document, rows_to_html, rows_to_markdown
from leo_jax.training.logging import METRICS, PICTURES, read_rows

NAME = "report"
RESULTS = "results.json"  # {name: number} of a stage that measures instead of training
EVALUATION = "evaluation.json"  # an evaluation of the run's videos; its own page lies beside it
PAIRS = {"whole frame": "", "moving region": "moving_"}  # of the animator's held-out measurements
WIDTH, HEIGHT, MARGIN = 640, 200, 46  # px of a curve's drawing
Point = tuple[int | float, int | float]  # step, value
POINTS = 400  # of a curve: longer ones are thinned by means


def write(workdir: files.PathLike, stages: Sequence[str] | None = None) -> pathlib.Path:
    """Writes report.html and report.md into `workdir`, from what its stages' folders hold.

    Args:
        workdir: of a run.
        stages: folders, in the order of the report; default all with metrics, results, an evaluation or videos, by name.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: no folder of the workdir holds anything to report.
    """
    workdir = pathlib.Path(workdir)
    folders = (
        [workdir / s for s in stages if (workdir / s).is_dir()]
        if stages
        else sorted(p for p in workdir.glob("*") if p.is_dir())
    )
    found = [folder for folder in folders if any(_contents(folder).values())]
    if not found:
        raise FileNotFoundError(
            f"{workdir} holds no stage with metrics, results or videos: start a run with `leo train`"
        )
    title = f"Run {workdir.resolve().name}"
    text, body = [f"# {title}", ""], [f"<h1>{html.escape(title)}</h1>"]
    for folder in found:
        lines, parts = _stage(workdir, folder)
        text += [f"## {folder.name}", "", *lines]
        body += [f"<h2>{html.escape(folder.name)}</h2>", *parts]
    files.atomic_write(workdir / f"{NAME}.md", "\n".join(text))
    files.atomic_write(workdir / f"{NAME}.html", document(title, body))
    return workdir / f"{NAME}.html"


def heldout_table(row: Mapping[str, Any]) -> Table:
    """L1 over the whole frame and over the moving region, each beside that of copying the source (SPEC §7)."""
    table: Table = [["held-out people", "L1", "copying the source", "ratio"]]
    for region, prefix in PAIRS.items():
        values = [row.get(f"heldout/{prefix}{name}") for name in ("l1", "l1_copy", "ratio")]
        if None not in values:
            table.append([region, f"{values[0]:.4f}", f"{values[1]:.4f}", f"{values[2]:.3f}"])
    return table


def curve(points: Sequence[Point], label: str) -> str:
    """An SVG line through (step, value) points, values on a logarithmic axis if all are positive and span a factor of 5."""
    points = _thinned(points)
    lowest, highest = min(v for _, v in points), max(v for _, v in points)
    logarithmic = lowest > 0 and highest / lowest > 5
    scale = math.log if logarithmic else float
    bottom, top = scale(lowest), scale(highest)
    first, last = points[0][0], points[-1][0]
    across = lambda s: MARGIN + (s - first) / max(last - first, 1) * (WIDTH - 2 * MARGIN)
    down = lambda v: HEIGHT - 24 - (scale(v) - bottom) / max(top - bottom, 1e-12) * (HEIGHT - 48)
    line = " ".join(f"{across(s):.1f},{down(v):.1f}" for s, v in points)
    texts = [(4, down(highest) + 4, f"{highest:.3g}"), (4, down(lowest) + 4, f"{lowest:.3g}"),
             (MARGIN, HEIGHT - 6, f"step {first:g}"), (WIDTH - 2 * MARGIN, HEIGHT - 6, f"{last:g}"),
             (MARGIN, 14, label + (" (logarithmic)" if logarithmic else ""))]  # fmt: skip
    labels = "".join(f'<text x="{x:.0f}" y="{y:.0f}" font-size="12">{html.escape(t)}</text>' for x, y, t in texts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{html.escape(label)}" '
        f'fill="currentColor"><polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>{labels}</svg>'
    )


def _contents(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    patterns = {"metrics": METRICS, "results": RESULTS, "evaluation": EVALUATION, "videos": "*.mp4", "sheets": "*.png"}
    return {name: sorted(folder.glob(pattern)) for name, pattern in patterns.items()}


def _stage(workdir: pathlib.Path, folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """(Markdown lines, HTML parts) of one stage."""
    contents, lines, parts = _contents(folder), [], []
    if contents["metrics"]:
        rows = read_rows(folder / METRICS)
        measured = [row for row in rows if any(name.startswith("heldout/") for name in row)]
        curves = {"loss": _series(rows, "loss")}
        curves |= {name: _series(rows, name) for name in ("heldout/loss", "heldout/moving_ratio", "heldout/ratio")}
        parts += [curve(points, name) for name, points in curves.items() if len(points) > 1]
        if curves["loss"]:
            step, loss = curves["loss"][-1]
            lines += [f"After {step:g} steps: loss {loss:.4g}.", ""]
            parts.append(f"<p>After {step:g} steps: loss {loss:.4g}.</p>")
        if measured:
            table = heldout_table(measured[-1])
            if len(table) > 1:
                lines += [*rows_to_markdown(table), ""]
                parts.append(rows_to_html(table))
    for path in contents["results"]:
        table = [["measured", "value"], *([n, f"{v:.4g}"] for n, v in json.loads(path.read_text()).items())]
        lines += [*rows_to_markdown(table), ""]
        parts.append(rows_to_html(table))
    for path in contents["evaluation"]:
        table = _evaluated(json.loads(path.read_text()))
        name = path.with_suffix(".html").relative_to(workdir).as_posix()
        lines += [*rows_to_markdown(table), "", f"[Errors, choices, samples]({name})", ""]
        parts += [rows_to_html(table), f'<p><a href="{html.escape(name)}">Errors, choices, samples</a></p>']
    pictures = contents["sheets"] or sorted((folder / PICTURES).glob("*.png"))[-1:]
    for path in pictures:
        lines += [f"![{path.stem}]({path.relative_to(workdir).as_posix()})", ""]
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>')
    for path in contents["videos"]:
        name = path.relative_to(workdir).as_posix()
        lines += [f"- [{path.name}]({name})"]
        parts.append(f'<figure><video src="{html.escape(name)}" controls loop muted></video>'
                     f"<figcaption>{html.escape(path.stem)}</figcaption></figure>")  # fmt: skip
    return [*lines, ""], parts


def _evaluated(result: Mapping[str, Any]) -> Table:
    metrics = result["metrics"].items()
    return [
        [result["protocol"]["name"], "value"],
        *([name.upper(), f"{entry['value']:.4g}"] for name, entry in metrics),
    ]


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most POINTS points: neighbours are replaced by their mean, the last point stays."""
    group = -(-len(points) // POINTS)
    if group == 1:
        return list(points)
    parts = [points[i : i + group] for i in range(0, len(points), group)]
    return [(part[-1][0], sum(v for _, v in part) / len(part)) for part in parts]
