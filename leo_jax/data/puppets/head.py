"""Heads: a face painted on an ellipsoid, so that eyes and hairline turn with it, hair behind it and hats."""

import functools

import numpy as np

from leo_jax.data.puppets import shapes
from leo_jax.data.puppets.appearance import HAIR, HATS

_HEAD_PART = 2  # figure.PART["head"]


def _frame(figure, frames):
    """The skull's rotation (f, 3, 3) and its centre in pixels (f, 2)."""
    skull = figure.pose.skull[frames]
    return skull, figure.at("head", frames)


def paint_hair_behind(canvas, figure, frames) -> None:
    """Long hair, buns and afros: what shows round the head and the neck."""
    who, unit = figure.identity, figure.unit
    kind = HAIR[who.hair_kind]
    if kind in ("bald", "short", "parted"):
        return
    skull, centre = _frame(figure, frames)
    tall = 0.5 * who.head * unit
    wide = who.head_width * tall
    back = -skull[:, :, 2][:, :2] * np.array([1, -1])  # image direction of the back of the head
    up = skull[:, :, 1][:, :2] * np.array([1, -1])
    if kind == "afro":
        bones = [(centre + 0.25 * tall * up, centre + 0.35 * tall * up, 1.22 * tall, 1.22 * tall)]
    elif kind == "bun":
        knot = centre + tall * (1.02 * up + 0.25 * back)
        bones = [(knot, knot + 0.1 * tall * up, 0.42 * tall, 0.40 * tall)]
    elif kind == "ponytail":
        root = centre + wide * 0.95 * back + 0.35 * tall * up
        bones = [(root, root + wide * 0.35 * back + np.array([0, 1.35 * tall]), 0.26 * tall, 0.12 * tall)]
    else:
        drop = 1.05 if kind == "bob" else 2.0
        low = centre + 0.25 * wide * back + np.array([0, drop * tall]) * np.ones((len(frames), 1))
        bones = [(centre + 0.1 * wide * back, low, 1.1 * wide, (1.1 if kind == "bob" else 0.85) * wide)]
    for start, end, first, last in bones:
        bone = shapes.Bone(start, end, first, last)
        patch = canvas.patch(frames, *shapes.bone_box(bone))
        field = shapes.bone_field(patch, bone)
        light = shapes.shade(field.normal)[..., None] * 0.86
        canvas.paint(patch, shapes.coverage(field.distance), np.asarray(who.hair, np.float32) * light, _HEAD_PART)


def paint_head(canvas, figure, frames) -> None:
    """Skull, ears, face, hair and hat, all in one patch."""
    who, unit, count = figure.identity, figure.unit, len(frames)
    skull, centre = _frame(figure, frames)
    tall = 0.5 * who.head * unit
    margin = 1.75 * tall
    patch = canvas.patch(frames, centre - margin, centre + margin)
    column = functools.partial(shapes.column, count=count)
    px = (patch.x - column(centre[:, 0])) / np.float32(tall)
    py = (column(centre[:, 1]) - patch.y) / np.float32(tall)  # up
    roll = np.arctan2(-skull[:, 0, 1], skull[:, 1, 1])
    cosine, sine = column(np.cos(roll)), column(np.sin(roll))
    x, y = px * cosine + py * sine, -px * sine + py * cosine  # upright, in half heads
    yaw = np.arctan2(skull[:, 0, 2], skull[:, 2, 2])
    pitch = np.arcsin(np.clip(-skull[:, 1, 2], -1, 1))
    aspect = who.head_width * (1 + 0.08 * np.abs(column(np.sin(yaw))))
    jaw = 1 - 0.16 * np.clip(-y, 0, 1) ** 2  # a chin narrower than the skull
    sx, sy = x / (aspect * jaw), y
    radius = np.sqrt(sx * sx + sy * sy)
    pixel = np.float32(tall)
    layers = _Layers(np.zeros((*radius.shape, 3), np.float32), np.zeros_like(radius), pixel)

    cy, ty = column(np.cos(yaw)), column(np.sin(yaw))
    cp, tp = column(np.cos(pitch)), column(np.sin(pitch))
    sz = np.sqrt(np.maximum(1 - sx * sx - sy * sy, 0))
    # From the viewer's axes to the face's: undo the pitch, then the yaw.
    fy = sy * cp + sz * tp
    deep = -sy * tp + sz * cp
    fx = sx * cy - deep * ty
    fz = sx * ty + deep * cy

    skin = np.asarray(who.skin, np.float32)
    hair = np.asarray(who.hair, np.float32)
    light = (1 + 0.13 * (shapes.LIGHT[0] * sx - shapes.LIGHT[1] * sy) - 0.10 * radius**2)[..., None]
    for side in (-1.0, 1.0):  # ears stick out where the side of the head faces the viewer's sides
        ear_x, ear_z = side * 0.98 * cy, -side * ty
        reach = np.hypot((x - ear_x * aspect) / 0.13, (y + 0.06 + 0.1 * tp) / 0.2) - 1
        shown = np.where(ear_z > -0.85, reach, 1.0)
        layers.lay(shown * 0.13, 0.9 * skin)
    layers.lay((radius - 1) * who.head_width, skin * light)
    _lay_face(layers, who, fx, fy, fz, skin, light)
    _lay_hair(layers, who, radius, fx, fy, fz, y, hair * light)
    _lay_hat(layers, who, x, y, aspect, radius, fy, cy, ty)
    canvas.paint(patch, layers.alpha, layers.colour / np.maximum(layers.alpha, 1e-4)[..., None], _HEAD_PART)


class _Layers:
    """Colours laid over each other inside a patch, premultiplied; distances come in half heads."""

    def __init__(self, colour, alpha, pixel):
        self.colour, self.alpha, self.pixel = colour, alpha, pixel

    def lay(self, distance, colour, opacity=1.0):
        cover = opacity * np.clip(0.5 - distance * self.pixel, 0, 1)
        self.colour += cover[..., None] * (colour - self.colour)
        self.alpha += cover * (1 - self.alpha)

    def draw(self, distance, colour, opacity=1.0):
        """As `lay`, only on what is already there."""
        cover = opacity * np.clip(0.5 - distance * self.pixel, 0, 1) * self.alpha
        self.colour += cover[..., None] * (np.asarray(colour, np.float32) * self.alpha[..., None] - self.colour)


def _lay_face(layers, who, fx, fy, fz, skin, light):
    behind = np.where(fz > 0.12, 0.0, 2.0)  # features exist on the front only
    if who.beard:
        beard = np.maximum(fy + 0.22 - 0.55 * np.abs(fx) ** 2, 0.12 - fz)
        layers.draw(beard, np.asarray(who.hair, np.float32) * light * 0.95, 0.9)
    mouth_y = -0.50 + 0.55 * who.smile * (fx / 0.5) ** 2 * 0.22
    mouth = np.maximum(np.abs(fy - mouth_y) - 0.055, np.abs(fx) - 0.27 * who.mouth_width) + behind
    layers.draw(mouth, np.array([0.62, 0.22, 0.22]) * (0.4 + 0.6 * skin), 0.9)
    nose = np.maximum(np.abs(fx) - 0.07 * who.nose, np.abs(fy + 0.2) - 0.13) + behind
    layers.draw(nose, 0.78 * skin, 0.75)
    for side in (-1.0, 1.0):
        cheek = np.hypot(fx - 0.52 * side, fy + 0.28) - 0.2 + behind
        layers.draw(cheek, skin * np.array([1.0, 0.86, 0.84]), 0.4)
        centre = 0.37 * who.eye_spacing * side
        eye = (np.hypot((fx - centre) / 1.35, fy - 0.08) - 0.125 * who.eye_size) + behind
        layers.draw(eye, np.array([0.97, 0.97, 0.96]))
        iris = np.hypot(fx - centre, fy - 0.075) - 0.105 * who.eye_size + behind
        layers.draw(iris, np.asarray(who.eye) * 0.7)
        brow = np.maximum(
            np.abs(fx - centre) - 0.2, np.abs(fy - 0.33 + 0.1 * np.abs(fx - centre)) - 0.05 * (0.5 + who.brow)
        )
        layers.draw(brow + behind, np.asarray(who.hair, np.float32) * 0.75, 0.5 + 0.5 * who.brow)
        if who.glasses:
            rim = np.abs(np.hypot((fx - centre) / 1.1, fy - 0.07) - 0.25) - 0.022 + behind
            layers.draw(rim, np.array([0.1, 0.1, 0.12]))
    if who.glasses:
        layers.draw(np.maximum(np.abs(fy - 0.1) - 0.035, np.abs(fx) - 0.14) + behind, np.array([0.1, 0.1, 0.12]))


def _lay_hair(layers, who, radius, fx, fy, fz, y, colour):
    kind = HAIR[who.hair_kind]
    if kind == "bald":
        return
    line = {"short": 0.52, "parted": 0.45, "bob": 0.42, "long": 0.48, "bun": 0.55, "afro": 0.45, "ponytail": 0.52}[kind]
    slant = 0.28 * fx if kind in ("parted", "long") else 0.0
    front = line + slant - 0.1 * fx**2 - fy
    low = {"short": -0.1, "parted": -0.15, "bob": -0.75, "long": -1.0, "bun": -0.2, "afro": -0.2, "ponytail": -0.2}[
        kind
    ]
    temple = {"bob": 0.52, "long": 0.46}.get(kind, 0.28)
    sides = np.maximum(fz - temple, low - fy)
    grown = np.minimum(front, sides)
    thick = {"short": 0.06, "parted": 0.09, "bob": 0.12, "long": 0.1, "bun": 0.06, "afro": 0.1, "ponytail": 0.06}[kind]
    # Outside the skull the coordinates stay at its rim, so thick hair continues the hair next to it.
    layers.lay(np.maximum(grown, (radius - 1 - thick) * who.head_width), colour)


def _lay_hat(layers, who, x, y, aspect, radius, fy, cy, ty):
    kind = HATS[who.hat]
    if kind == "none":
        return
    colour = np.asarray(who.hat_colour, np.float32)
    light = (1 + 0.12 * (shapes.LIGHT[0] * x / aspect) - 0.1 * (x / aspect) ** 2)[..., None]
    crown = np.maximum((radius - 1.13) * who.head_width, 0.36 - y)
    layers.lay(crown, colour * light)
    if kind == "beanie":
        layers.lay(np.maximum(np.abs(y - 0.42) - 0.13, np.abs(x) - 1.12 * aspect), colour * light * 0.8)
        layers.lay(np.hypot(x, y - 1.2) - 0.2, colour * light * 1.1)
    elif kind == "cap":
        brim = np.maximum(np.abs(y - 0.36) - 0.08, np.abs(x - 0.95 * ty) - 0.7 * aspect)
        layers.lay(brim, colour * 0.75)
    else:
        layers.lay(np.hypot(x / 8.5, y - 0.42) - 0.16, colour * light * 0.92)
