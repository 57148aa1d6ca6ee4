"""Antialiased painting of many frames at once: signed distances in pixels, restricted to each shape's box.

A canvas holds (t, h, w, 4): linear red, green, blue and the silhouette's coverage. Coverage of a pixel by a shape is
clip(0.5 - signed distance in pixels, 0, 1), an approximation of its area that is exact for straight edges.
"""

from dataclasses import dataclass

import numpy as np

LIGHT = (-0.45, -0.6)  # where the light comes from in the frame: from the upper left


@dataclass(frozen=True)
class Patch:
    """The part of a canvas a shape can touch; `index` (f, r, c) counts its pixels through all frames.

    x (f, 1, c) and y (f, r, 1) are the pixels' centres.
    """

    index: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Canvas:
    """Frames being painted, and for every pixel the number of the part that covers it (0: background)."""

    def __init__(self, background: np.ndarray, frames: int):
        height, width = background.shape[:2]
        self.height, self.width = height, width
        self.pixels = np.zeros((frames, height, width, 4), np.float32)
        self.pixels[..., :3] = background
        self.part = np.zeros((frames, height, width), np.uint8)

    def patch(self, frames: np.ndarray, low: np.ndarray, high: np.ndarray) -> Patch:
        """The smallest common box, moved from frame to frame, around (f, 2) corners in pixels, kept in the frame."""
        first = np.floor(low - 1).astype(np.int64)
        extent = np.ceil((high - low).max(0) + 3).astype(np.int64)
        columns, rows = min(extent[0], self.width), min(extent[1], self.height)
        left = np.clip(first[:, 0], 0, self.width - columns)
        top = np.clip(first[:, 1], 0, self.height - rows)
        y = top[:, None] + np.arange(rows)
        x = left[:, None] + np.arange(columns)
        index = (frames[:, None, None] * self.height + y[:, :, None]) * self.width + x[:, None, :]
        return Patch(index, (x[:, None, :] + 0.5).astype(np.float32), (y[:, :, None] + 0.5).astype(np.float32))

    def paint(self, patch: Patch, coverage: np.ndarray, colour: np.ndarray, part: int, solid: bool = True) -> None:
        """Lays colour (f, r, c, 3) over the canvas; shadows are not `solid`: they are no part of the silhouette."""
        above = np.full((*coverage.shape, 4), solid, np.float32)
        above[..., :3] = colour
        pixels = self.pixels.reshape(-1, 4)
        below = pixels.take(patch.index, axis=0)
        if solid:
            self.part.reshape(-1)[patch.index[coverage > 0.5]] = part
            above -= below
        else:
            above[..., :3] -= below[..., :3]
        above *= coverage[..., None]
        above += below
        pixels[patch.index] = above


@dataclass(frozen=True)
class Bone:
    """A tapered stroke per frame: ends (f, 2) and radii in pixels (scalars or (f,)); cuts as shares of the length.

    With `cut` = (a, b) only the part between those shares of the axis is painted, with flat ends: sleeves and legs.
    """

    start: np.ndarray
    end: np.ndarray
    radius_start: np.ndarray | float
    radius_end: np.ndarray | float
    cut: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Field:
    """A shape evaluated on a patch: distance, place along (0..1, beyond at round ends) and across (-1..1) its axis.

    `normal` are the two components of the surface normal in the image plane, for shading.
    """

    distance: np.ndarray
    along: np.ndarray
    across: np.ndarray
    normal: tuple[np.ndarray, np.ndarray]


def column(values, count: int) -> np.ndarray:
    """Per-frame scalars as (f, 1, 1) float32; one for all frames as (1, 1, 1)."""
    values = np.asarray(values, np.float32)
    return values.reshape(count if values.ndim else 1, 1, 1)


def bone_box(bone: Bone, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Corners (f, 2) around the stroke."""
    radius = np.maximum(np.broadcast_to(bone.radius_start, len(bone.start)), bone.radius_end)[:, None] + margin
    return np.minimum(bone.start, bone.end) - radius, np.maximum(bone.start, bone.end) + radius


def bone_field(patch: Patch, bone: Bone) -> Field:
    """Distance to a stroke whose radius changes linearly along its axis."""
    count = len(bone.start)
    ax, ay = column(bone.start[:, 0], count), column(bone.start[:, 1], count)
    dx, dy = column(bone.end[:, 0], count) - ax, column(bone.end[:, 1], count) - ay
    length = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
    dx, dy = dx / length, dy / length
    px, py = patch.x - ax, patch.y - ay
    reach = px * dx + py * dy
    side = py * dx - px * dy
    along = reach / length
    inside = np.clip(along, 0, 1)
    radius_start, radius_end = column(bone.radius_start, count), column(bone.radius_end, count)
    radius = radius_start + inside * (radius_end - radius_start)
    beyond = reach - inside * length
    distance = np.sqrt(side * side + beyond * beyond) - radius
    if bone.cut[0] is not None:
        distance = np.maximum(distance, bone.cut[0] * length - reach)
    if bone.cut[1] is not None:
        distance = np.maximum(distance, reach - bone.cut[1] * length)
    across = side / radius
    # Only the bend across the limb is shaded, not the round ends: there the next part carries on.
    return Field(distance, along, across, (-across * dy, across * dx))


def coverage(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel inside the shape."""
    return np.clip(np.float32(0.5) - distance, 0, 1)


def shade(normal, strength: float = 0.16, rim: float = 0.14) -> np.ndarray:
    """Brightness factor of a rounded surface lit from LIGHT; `rim` darkens the edges, so that limbs stand out."""
    nx, ny = normal
    return 1 + np.float32(strength) * (LIGHT[0] * nx + LIGHT[1] * ny) - np.float32(rim) * (nx * nx + ny * ny)


def stripe(turns: np.ndarray, pixels_per_turn) -> np.ndarray:
    """A square wave of `turns` in 0..1 whose edges are one pixel wide, fading to grey where it gets too fine."""
    wave = np.sin(np.float32(2 * np.pi) * turns)
    return np.clip(0.5 + wave * np.asarray(pixels_per_turn / (2 * np.pi), np.float32), 0, 1)
