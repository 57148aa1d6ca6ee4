"""Contact sheets: rows of frames with their names, so that videos can be judged at a glance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

GAP = 4  # px of white between pictures
LINE = 16  # px for a line of text
SMALLEST_CELL = 64  # px, at least: smaller pictures are enlarged by a whole factor


class Row(NamedTuple):
    """A name, and the frames beside it."""

    label: str
    frames: Sequence[UInt8[np.ndarray, "h w 3"]]


def spaced(frames: int, columns: int) -> list[int]:
    """Numbers of at most `columns` frames in equal distances, the first and the last of `frames` among them."""
    return sorted(set(np.linspace(0, frames - 1, min(columns, frames)).round().astype(int).tolist()))


def sheet(rows: Sequence[Row], heads: Sequence[str] = ()) -> UInt8[np.ndarray, "height width 3"]:
    """Draws rows under each other, each below its label, with `heads` above the columns. Rows may differ in length.

    Raises ValueError if there is nothing to draw.
    """
    frames = [frame for row in rows for frame in row.frames]
    if not frames:
        raise ValueError("no frames for a contact sheet")
    side = max(frame.shape[0] for frame in frames)
    cell = side * -(-SMALLEST_CELL // side)
    columns = max(len(row.frames) for row in rows)
    font = ImageFont.load_default(size=12)
    top = LINE if heads else 0
    canvas = Image.new("RGB", (columns * (cell + GAP) - GAP, top + len(rows) * (LINE + cell + GAP) - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for column, head in enumerate(heads):
        draw.text((column * (cell + GAP) + 2, 1), head, fill="black", font=font)
    for number, row in enumerate(rows):
        y = top + number * (LINE + cell + GAP)
        draw.text((2, y + 1), row.label, fill="black", font=font)
        for column, frame in enumerate(row.frames):
            picture = Image.fromarray(frame).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(picture, (column * (cell + GAP), y + LINE))
    return np.asarray(canvas)


def mosaic(
    pictures: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], gap: int = GAP
) -> UInt8[np.ndarray, "height width 3"]:
    """Rows of equally large pictures, `gap` white pixels between them: one frame of a video of videos."""
    rows, columns = len(pictures), len(pictures[0])
    h, w, _ = pictures[0][0].shape
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            canvas[i * (h + gap) : i * (h + gap) + h, j * (w + gap) : j * (w + gap) + w] = picture
    return canvas
