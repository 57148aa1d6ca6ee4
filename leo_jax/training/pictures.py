"""Sheets for a person to look at: rows are examples, labelled columns are images, masks and flows. NumPy only."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

GAP = 4  # px of white between pictures
HEADER = 18  # px above the columns for their names
SMALLEST_CELL = 96  # px, at least; smaller pictures are enlarged so that their details and labels can be read

# The wheel of Baker et al. (2011), "A database and evaluation methodology for optical flow": six colours, with more room
# between those whose hues the eye tells apart better. Steps from each colour to the next.
COLOURS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64)
ROOM = np.array([15, 6, 4, 11, 13, 6])


def flow_picture(flow: Float[np.ndarray, "*b h w 2"], largest: float | None = None) -> UInt8[np.ndarray, "*b h w 3"]:
    """Colours of displacements (x right, y down): the hue is the direction (right is red), white is no displacement.

    `largest` is the length drawn in full colour, and longer ones are drawn so too; by default the 99th percentile of
    all lengths given.
    """
    x, y = np.asarray(flow[..., 0], np.float64), np.asarray(flow[..., 1], np.float64)
    length = np.hypot(x, y)
    if largest is None:
        largest = float(np.percentile(length, 99)) if length.size else 1.0
    turn = np.arctan2(y, x) / (2 * np.pi) % 1
    anchors = np.concatenate([[0], np.cumsum(ROOM)]) / ROOM.sum()
    hue = np.stack([np.interp(turn, anchors, COLOURS[:, channel]) for channel in range(3)], axis=-1)
    strength = np.clip(length / max(largest, 1e-12), 0, 1)[..., None]
    return np.round(255 * (1 - strength * (1 - hue))).astype(np.uint8)


def flow_wheel(size: int) -> UInt8[np.ndarray, "h w 3"]:
    """The key to `flow_picture`: each place of a (size, size) disc has the colour of the displacement to it."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    picture = flow_picture(np.stack([x, y], axis=-1), largest=1.0)
    picture[np.hypot(x, y) > 1] = 255
    return picture


def image_picture(images: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Images in [-1, 1], clamped, as bytes."""
    return np.round((np.clip(np.asarray(images, np.float64), -1, 1) + 1) * 127.5).astype(np.uint8)


def mask_picture(mask: Float[np.ndarray, "*b h w 1"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Masks in [0, 1] as grey: white is warped from the source, black is painted anew."""
    grey = np.round(np.clip(np.asarray(mask, np.float64), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def sheet(columns: Mapping[str, Shaped[np.ndarray, "b ..."]]) -> UInt8[np.ndarray, "height width 3"]:
    """A labelled sheet: one row an example, one column a name, in the mapping's order.

    A column is (b, h, w, 3) uint8, or float images in [-1, 1], (b, h, w, 1) float masks in [0, 1], or (b, h, w, 2)
    float displacements. Columns may differ in resolution: all are enlarged, pixel by pixel, to the largest.

    Raises:
        ValueError: a column is none of these, or columns have different numbers of examples.
    """
    pictures = {name: _picture(name, np.asarray(column)) for name, column in columns.items()}
    if len({len(column) for column in pictures.values()}) != 1:
        raise ValueError(f"columns have different numbers of rows: { {n: len(c) for n, c in pictures.items()} }")
    rows = len(next(iter(pictures.values())))
    largest = max(max(column.shape[1:3]) for column in pictures.values())
    cell = largest * -(-SMALLEST_CELL // largest)  # a whole multiple: every pixel is drawn equally large
    height, width = HEADER + rows * (cell + GAP), len(pictures) * (cell + GAP) - GAP
    canvas = Image.new("RGB", (width, height - GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for number, (name, column) in enumerate(pictures.items()):
        left = number * (cell + GAP)
        draw.text((left + 2, 1), name, fill="black", font=font)
        if columns[name].shape[-1] == 2:
            key = Image.fromarray(flow_wheel(HEADER - 2))
            canvas.paste(key, (left + cell - key.width, 1))
        for row, picture in enumerate(column):
            enlarged = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (left, HEADER + row * (cell + GAP)))
    return np.asarray(canvas)


def animator_sheet(
    source: Shaped[np.ndarray, "b h w 3"],
    driving: Shaped[np.ndarray, "b h w 3"],
    reconstruction: Shaped[np.ndarray, "b h w 3"],
    mask: Float[np.ndarray, "b r r 1"],
    flow: Float[np.ndarray, "b r r 2"],
) -> UInt8[np.ndarray, "height width 3"]:
    """What the animator does with each pair: see `sheet`. `flow` is the offset added to the sampling grid."""
    columns = {"source": source, "driving": driving, "reconstruction": reconstruction, "mask": mask, "flow": flow}
    return sheet(columns)


def _picture(name: str, column: np.ndarray) -> np.ndarray:
    if column.ndim == 4 and column.shape[-1] == 3 and column.dtype == np.uint8:
        return column
    kinds: dict[int, Callable[[np.ndarray], np.ndarray]] = {1: mask_picture, 2: flow_picture, 3: image_picture}
    if column.ndim == 4 and column.shape[-1] in kinds and np.issubdtype(column.dtype, np.floating):
        return kinds[column.shape[-1]](column)
    raise ValueError(
        f"column {name!r} is {column.dtype}{list(column.shape)}: (b, h, w, 3) bytes or float images, (b, h, w, 1) float "
        "masks, or (b, h, w, 2) float displacements can be drawn"
    )
