"""Curves, clouds of points and histograms for the sheets of the denoisers, drawn with Pillow."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

REAL, MADE = (150, 150, 150), (214, 39, 40)  # grey and red
FINE = 2  # drawn so many times larger, then averaged down: smooth lines
GAP = 4  # px of white between plots
LABEL = 14  # px above a plot for its name


def line_plot(
    real: Float[np.ndarray, "k t"], made: Float[np.ndarray, "k t"], *, width: int, height: int, reach: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Curves over time, real ones grey and made ones red, values from -reach to reach."""
    canvas, draw = _frame(width, height)
    for curves, colour in ((real, REAL), (made, MADE)):
        for curve in curves:
            x = np.linspace(0, width - 1, len(curve)) * FINE
            draw.line(list(zip(x, _down(curve, height, reach), strict=True)), fill=colour, width=FINE)
    return _finished(canvas, width, height)


def scatter_plot(
    real: Float[np.ndarray, "n 2"], made: Float[np.ndarray, "m 2"], *, side: int, reach: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Points in a square from -reach to reach, real ones grey below, made ones red above."""
    canvas, draw = _frame(side, side)
    for points, colour in ((real, REAL), (made, MADE)):
        x = (points[:, 0] / reach + 1) / 2 * (side - 1) * FINE
        for a, b in zip(x, _down(points[:, 1], side, reach), strict=True):
            draw.ellipse((a - 1.5, b - 1.5, a + 1.5, b + 1.5), fill=colour)
    return _finished(canvas, side, side)


def histogram_plot(
    real: Float[np.ndarray, " n"], made: Float[np.ndarray, " m"], *, side: int, reach: float, bins: int = 24
) -> UInt8[np.ndarray, "h w 3"]:
    """Shares of the values from -reach to reach, real ones as grey bars, made ones as a red line."""
    canvas, draw = _frame(side, side)
    edges = np.linspace(-reach, reach, bins + 1)
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in (real, made)]
    top = max(1e-9, *(share.max() for share in shares)) * 1.05
    x = np.linspace(0, side - 1, bins + 1) * FINE
    bars, line = ((1 - share / top) * (side - 1) * FINE for share in shares)
    for i, bar in enumerate(bars):
        draw.rectangle((x[i], bar, x[i + 1], (side - 1) * FINE), fill=REAL)
    steps = [(x[i + right], level) for i, level in enumerate(line) for right in (0, 1)]
    draw.line(steps, fill=MADE, width=FINE)
    return _finished(canvas, side, side)


def row(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], names: Sequence[str]) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of one height beside each other, each with its name above."""
    height = LABEL + pictures[0].shape[0]
    width = sum(picture.shape[1] + GAP for picture in pictures) - GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw, font, left = ImageDraw.Draw(canvas), ImageFont.load_default(size=11), 0
    for picture, name in zip(pictures, names, strict=True):
        draw.text((left + 2, 0), name, fill="black", font=font)
        canvas.paste(Image.fromarray(picture), (left, LABEL))
        left += picture.shape[1] + GAP
    return np.asarray(canvas)


def column(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of any widths below each other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, GAP), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded)[:-GAP]


def _down(values: Float[np.ndarray, " n"], height: int, reach: float) -> Float[np.ndarray, " n"]:
    """Places of values in a picture, whose rows are counted from above."""
    return (1 - np.clip(np.asarray(values, np.float64) / reach, -1, 1)) / 2 * (height - 1) * FINE


def _frame(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A light canvas with a line at 0."""
    canvas = Image.new("RGB", (width * FINE, height * FINE), (247, 247, 247))
    draw = ImageDraw.Draw(canvas)
    draw.line((0, height * FINE / 2, width * FINE, height * FINE / 2), fill=(225, 225, 225), width=FINE)
    return canvas, draw


def _finished(canvas: Image.Image, width: int, height: int) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX))
