"""Tables and pages as text: Markdown for reading in a terminal, HTML that needs nothing beside it."""

import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums;
  display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .8rem; text-align: left; vertical-align: top; }
.short { white-space: nowrap; }
.samples { display: flex; flex-wrap: wrap; gap: .5rem; }
.samples img { width: 14rem; max-width: 100%; image-rendering: auto; border-radius: 4px; }
figure { display: inline-block; margin: .5rem; } video, p > img { max-width: 100%; image-rendering: pixelated; }
li.warning { margin: .3rem 0; } small, .quiet { opacity: .75; } code { overflow-wrap: anywhere; }
"""

SHORT = 26  # characters
Table = list[list[str]]  # the first row is the head


def rows_to_markdown(rows: Table) -> list[str]:
    """The lines of a Markdown table."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def rows_to_html(rows: Table) -> str:
    """A table element; the cells are escaped."""
    head = "".join(f"<th class=short>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    """A cell; numbers with their error, and whatever else is short, stay on one line."""
    return f"<td{' class=short' * (len(text) <= SHORT)}>{html.escape(text)}</td>"


def document(title: str, body: Sequence[str]) -> str:
    """A whole page; `body` is HTML, the title text."""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(body)}</body></html>\n'
