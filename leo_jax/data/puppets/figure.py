"""Paints a posed person, part by part from the farthest to the nearest, on all frames of a canvas."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from leo_jax.data.puppets import shapes
from leo_jax.data.puppets.appearance import BOTTOMS, PATTERNS, Identity
from leo_jax.data.puppets.head import paint_hair_behind, paint_head
from leo_jax.data.puppets.shapes import Bone, Canvas
from leo_jax.data.puppets.skeleton import JOINT, JOINT_NAMES, SIDES, Camera, Pose

PARTS = (
    "background",
    "torso",
    "head",
    "skirt",
    *(f"{s}_{p}" for s in SIDES for p in ("upper_arm", "forearm", "thigh", "shin", "foot")),
)
PART = {name: i for i, name in enumerate(PARTS)}
# Parts at which a joint counts as seen; any other part there hides it.
_SHOWS = {
    "head": ("head",),
    "neck": ("torso", "head"),
    "pelvis": ("torso", "skirt", "left_thigh", "right_thigh"),
    **{
        f"{side}_{joint}": tuple(part if part in PART else f"{side}_{part}" for part in parts)
        for side in SIDES
        for joint, parts in {
            "shoulder": ("torso", "upper_arm"),
            "elbow": ("upper_arm", "forearm"),
            "wrist": ("forearm",),
            "hip": ("torso", "thigh", "skirt"),
            "knee": ("thigh", "shin", "skirt"),
            "ankle": ("shin", "foot"),
            "toe": ("foot",),
        }.items()
    },
}


@dataclass(frozen=True)
class Cloth:
    """A coloured material: two colours, the index of a pattern and its period in standing heights."""

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    pattern: int = 0
    period: float = 0.1


@dataclass(frozen=True)
class Figure:
    """A person in frames: joints projected to pixels (t, j, 2), the pose they come from, and `unit` pixels per height."""

    identity: Identity
    pose: Pose
    points: np.ndarray
    unit: float

    def at(self, joint: str, frames: np.ndarray) -> np.ndarray:
        """A joint's pixels (f, 2) in some frames."""
        return self.points[frames, JOINT[joint]]

    def depth(self, joint: str) -> np.ndarray:
        """A joint's z (t,), towards the viewer."""
        return self.pose.joints[:, JOINT[joint], 2]


def paint(canvas: Canvas, identity: Identity, pose: Pose, camera: Camera, shadow: bool) -> None:
    """Paints the person; the order of limbs and body follows their depth in each frame."""
    size = canvas.width
    figure = Figure(identity, pose, camera.project(pose.joints) * size, camera.scale * size)
    frames = np.arange(len(figure.points))
    if shadow:
        _paint_shadow(canvas, figure, frames)
    layers: dict[str, tuple[Callable[[np.ndarray], None], np.ndarray]] = {
        "hair": (lambda f: paint_hair_behind(canvas, figure, f), np.full(len(frames), -0.05)),
        "torso": (lambda f: _paint_torso(canvas, figure, f), np.zeros(len(frames))),
        "head": (lambda f: paint_head(canvas, figure, f), np.full(len(frames), 0.05)),
    }
    if BOTTOMS[identity.bottom_kind] in ("skirt", "robe"):
        layers["skirt"] = (lambda f: _paint_skirt(canvas, figure, f), np.full(len(frames), -0.1))
    body = figure.depth("pelvis"), figure.depth("neck")
    for side in SIDES:
        knee = pose.joints[:, JOINT[f"{side}_knee"]]
        raised = (knee[:, 1] > pose.joints[:, JOINT["pelvis"], 1] - 0.13) & (knee[:, 2] > body[0] + 0.05)
        leg = np.where(raised & ("skirt" not in layers), 0.02, -0.5 + 0.1 * (knee[:, 2] - body[0]))
        layers[f"{side} leg"] = (functools.partial(_paint_leg, canvas, figure, side=side), leg)
        reach = 0.5 * (figure.depth(f"{side}_elbow") + figure.depth(f"{side}_wrist")) - body[1]
        # In profile the far arm is behind the body though its hand may swing forward: its shoulder tells.
        reach = reach + 1.2 * (figure.depth(f"{side}_shoulder") - body[1])
        arm = np.where(reach > -0.02, 1.0, -1.0) + 0.1 * reach
        layers[f"{side} arm"] = (functools.partial(_paint_arm, canvas, figure, side=side), arm)
    order = np.argsort(np.stack([depth for _, depth in layers.values()], -1), axis=-1, kind="stable")
    for rank in range(len(layers)):
        for number, (paint_layer, _) in enumerate(layers.values()):
            chosen = np.flatnonzero(order[:, rank] == number)
            if len(chosen):
                paint_layer(chosen)


def visibility(canvas: Canvas, points: Float[np.ndarray, "t j 2"], pose: Pose) -> np.ndarray:
    """Whether each joint (t, j) lies in the frame and no other part of the body hides it; `points` in pixels."""
    column, row = np.floor(points).astype(int).transpose(2, 0, 1)
    inside = (column >= 0) & (column < canvas.width) & (row >= 0) & (row < canvas.height)
    frame = np.arange(len(points))[:, None]
    part = canvas.part[frame, np.clip(row, 0, canvas.height - 1), np.clip(column, 0, canvas.width - 1)]
    shows = np.zeros((len(JOINT_NAMES), len(PARTS)), bool)
    for joint, parts in _SHOWS.items():
        shows[JOINT[joint], [PART[name] for name in parts]] = True
    seen = inside & shows[np.arange(len(JOINT_NAMES)), part]
    for middle, joint in (("neck", "shoulder"), ("pelvis", "hip")):
        for side in SIDES:  # the body itself hides its far side when it is turned
            offset = pose.joints[:, JOINT[f"{side}_{joint}"]] - pose.joints[:, JOINT[middle]]
            seen[:, JOINT[f"{side}_{joint}"]] &= offset[:, 2] > -0.75 * np.linalg.norm(offset, axis=-1)
    return seen


def dress(cloth: Cloth, field: shapes.Field, length, girth: float, unit: float, turned=0.0) -> np.ndarray:
    """Colours (f, r, c, 3) of a cloth round a limb: its pattern keeps to the limb, `turned` radians about its axis."""
    first, second = np.asarray(cloth.first, np.float32), np.asarray(cloth.second, np.float32)
    name = PATTERNS[cloth.pattern]
    light = shapes.shade(field.normal)[..., None]
    if name == "plain":
        return first * light
    pixels = cloth.period * unit
    if name == "fade":
        return (first + np.clip(field.along, 0, 1)[..., None] * (second - first)) * light
    stripes = []
    if name in ("rings", "checks"):
        stripes.append(shapes.stripe(field.along * np.float32(length / cloth.period), pixels))
    if name in ("lengthwise", "checks"):
        angle = np.arcsin(np.clip(field.across, -1, 1)) + turned
        stripes.append(shapes.stripe(angle * np.float32(girth / cloth.period), pixels))
    amount = np.add.reduce(stripes) / len(stripes)
    return (first + amount[..., None] * (second - first)) * light


def _lower_cloth(who: Identity) -> Cloth:
    """What the lower body wears; a robe is one piece with the top."""
    if BOTTOMS[who.bottom_kind] == "robe":
        return Cloth(who.top, who.top_second, who.top_pattern, who.top_period)
    return Cloth(who.bottom, who.bottom_second, who.bottom_pattern, who.bottom_period)


def stroke(canvas: Canvas, frames, bone: Bone, part: str, cloth: Cloth, length: float, unit: float) -> None:
    """Paints one limb segment."""
    patch = canvas.patch(frames, *shapes.bone_box(bone))
    field = shapes.bone_field(patch, bone)
    girth = float(np.mean(bone.radius_start)) / unit
    canvas.paint(patch, shapes.coverage(field.distance), dress(cloth, field, length, girth, unit), PART[part])


def _paint_shadow(canvas, figure, frames):
    feet = [0.5 * (figure.at(f"{s}_ankle", frames) + figure.at(f"{s}_toe", frames)) for s in SIDES]
    unit = figure.unit
    middle = 0.5 * (feet[0] + feet[1])
    middle[:, 1] = np.maximum(feet[0][:, 1], feet[1][:, 1])
    half = 0.5 * np.abs(feet[0][:, 0] - feet[1][:, 0]) + 0.10 * unit
    extent = np.stack([half, np.full_like(half, 0.035 * unit)], -1)
    patch = canvas.patch(frames, middle - extent, middle + extent)
    x = (patch.x - shapes.column(middle[:, 0], len(frames))) / shapes.column(half, len(frames))
    y = (patch.y - shapes.column(middle[:, 1], len(frames))) / np.float32(0.035 * unit)
    dark = 0.45 * np.clip(1 - x * x - y * y, 0, 1)
    canvas.paint(patch, dark, np.zeros(3, np.float32), 0, solid=False)


def _paint_leg(canvas, figure, frames, side):
    who, unit = figure.identity, figure.unit
    body = who.proportions()
    hip, knee, ankle, toe = (figure.at(f"{side}_{joint}", frames) for joint in ("hip", "knee", "ankle", "toe"))
    radii = np.array([0.048, 0.038, 0.024]) * who.girth * unit
    skin = Cloth(who.skin, who.skin)
    skirted = BOTTOMS[who.bottom_kind] in ("skirt", "robe")
    flare = 1.0 if skirted else who.flare
    cloth = _lower_cloth(who)
    # Legs under a skirt wear its colour: what shows beside it is the skirt, pushed out.
    covered = who.bottom_length * (body.thigh + body.shin) * (0.93 if skirted else 1.0)
    heel = ankle + (ankle - toe) * 0.28
    heel[:, 1] += 0.016 * unit
    shoe = Cloth(who.shoe, who.shoe)

    stroke(canvas, frames, Bone(heel, toe, 0.026 * unit, 0.019 * unit), f"{side}_foot", shoe, body.foot, unit)
    if covered < body.thigh + 0.95 * body.shin:
        stroke(canvas, frames, Bone(knee, ankle, radii[1], radii[2]), f"{side}_shin", skin, body.shin, unit)
    if covered > body.thigh:
        share = (covered - body.thigh) / body.shin
        wide = Bone(knee, ankle, radii[1] * 1.06, radii[2] * (1.12 + 0.9 * (flare - 1)), (None, share))
        stroke(canvas, frames, wide, f"{side}_shin", cloth, body.shin, unit)
    if covered < body.thigh:
        stroke(canvas, frames, Bone(hip, knee, radii[0], radii[1]), f"{side}_thigh", skin, body.thigh, unit)
    if covered > 0:
        share = covered / body.thigh if covered < body.thigh else None
        loose = 1.06 if share is None else 1.1 * flare
        wide = Bone(hip, knee, radii[0] * 1.05, radii[1] * loose, (None, share))
        stroke(canvas, frames, wide, f"{side}_thigh", cloth, body.thigh, unit)


def _paint_arm(canvas, figure, frames, side):
    who, unit = figure.identity, figure.unit
    body = who.proportions()
    shoulder, elbow, wrist = (figure.at(f"{side}_{joint}", frames) for joint in ("shoulder", "elbow", "wrist"))
    radii = np.array([0.034, 0.027, 0.020]) * who.girth * unit
    skin = Cloth(who.skin, who.skin)
    cloth = Cloth(who.top, who.top_second, who.top_pattern, who.top_period)
    covered = who.sleeve * (body.upper_arm + body.forearm)

    if covered < body.upper_arm:
        bare = Bone(shoulder, elbow, radii[0], radii[1])
        stroke(canvas, frames, bare, f"{side}_upper_arm", skin, body.upper_arm, unit)
    if covered > 0:
        share = covered / body.upper_arm if covered < body.upper_arm else None
        loose = Bone(shoulder, elbow, radii[0] * 1.12, radii[1] * 1.18, (None, share))
        stroke(canvas, frames, loose, f"{side}_upper_arm", cloth, body.upper_arm, unit)

    direction = (wrist - elbow) / unit
    # The hand carries on from the forearm, drooping a little.
    hand = wrist + (0.42 * direction + np.array([0, 0.006])) * unit
    stroke(canvas, frames, Bone(wrist, hand, 0.020 * unit, 0.024 * unit), f"{side}_forearm", skin, 0.06, unit)
    if covered < 0.97 * (body.upper_arm + body.forearm):
        stroke(canvas, frames, Bone(elbow, wrist, radii[1], radii[2]), f"{side}_forearm", skin, body.forearm, unit)
    if covered > body.upper_arm:
        share = (covered - body.upper_arm) / body.forearm
        loose = Bone(elbow, wrist, radii[1] * 1.18, radii[2] * 1.25, (None, share if share < 1 else None))
        stroke(canvas, frames, loose, f"{side}_forearm", cloth, body.forearm, unit)


# Where the body's outline is tabulated, in torso lengths above the hips.
_SPINE = np.linspace(-0.3, 1.25, 156)


def _profile(who: Identity) -> tuple[np.ndarray, np.ndarray]:
    """Half width and half depth of the body at _SPINE, in standing heights."""
    hips, waist = who.hip + 0.044 * who.girth, 0.64 * who.shoulder + 0.012 * who.girth + who.belly
    thick = 0.052 * who.girth
    outline = np.array(  # place on the spine (0 hips, 1 neck), half width, half depth
        [
            (-0.30, 0.55 * hips, 0.80 * thick),
            (-0.16, 0.90 * hips, 1.15 * thick),
            (0.02, hips, 1.20 * thick),
            (0.42, waist, thick + 1.5 * who.belly),
            (0.76, 0.94 * who.shoulder, 1.16 * thick),
            (0.92, who.shoulder, 0.95 * thick),
            (1.00, 0.92 * who.shoulder, 0.72 * thick),
            (1.06, 0.50 * who.shoulder, 0.50 * thick),
            (1.14, 0.028, 0.030),
            (1.25, 0.026, 0.028),
        ]
    )
    place, *values = outline.T
    return tuple(_smooth(np.interp(_SPINE, place, each)).astype(np.float32) for each in values)


def _smooth(values):
    kernel = np.hanning(15)[1:-1]
    padded = np.pad(values, 6, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _paint_torso(canvas, figure, frames):
    who, unit, count = figure.identity, figure.unit, len(frames)
    pelvis, neck = figure.at("pelvis", frames), figure.at("neck", frames)
    patch, u, v, length = _body_axis(canvas, figure, frames, pelvis, neck, 0.3, 1.16)
    yaw = shapes.column(_yaw(figure.pose.hips[frames]), count), shapes.column(_yaw(figure.pose.chest[frames]), count)
    turned = yaw[0] + np.clip(u, 0, 1) * (yaw[1] - yaw[0])
    width, depth = _profile(who)
    place = np.clip((u - _SPINE[0]) / (_SPINE[1] - _SPINE[0]), 0, len(_SPINE) - 1.001)
    low = place.astype(np.int32)
    rest = place - low
    cosine, sine = np.cos(turned), np.sin(turned)
    wide = (width[low] + rest * (width[low + 1] - width[low])) * cosine
    deep = (depth[low] + rest * (depth[low + 1] - depth[low])) * sine
    half = np.sqrt(wide * wide + deep * deep) * np.float32(unit)  # of an ellipse, seen from where it is turned to
    slope = np.gradient(half, axis=1)
    distance = (np.abs(v) - half) / np.sqrt(1 + slope * slope)
    distance = np.maximum(distance, np.maximum((-0.17 - u) * length, (u - 1.13) * length))
    across = v / half
    field = shapes.Field(distance, u, across, (across, 0 * across))
    torso = who.proportions().torso
    cloth = Cloth(who.top, who.top_second, who.top_pattern, who.top_period)
    colour = dress(cloth, field, torso, 0.6 * who.shoulder, unit, -turned)
    light = shapes.shade(field.normal)[..., None]
    # Where on the front a pixel is: -1..1 over the visible half of the cylinder, 0 on the breastbone.
    front = np.sin(np.arcsin(np.clip(across, -1, 1)) - turned)
    facing = np.cos(np.arcsin(np.clip(across, -1, 1)) - turned) > 0
    if who.jacket:
        opening = shapes.coverage((np.abs(front) - 0.16 - 0.1 * u) * half) * facing * (who.top_pattern != 2)
        colour = colour + opening[..., None] * (np.asarray(who.top_second, np.float32) * light - colour)
    bare = shapes.coverage((0.97 + 0.5 * np.abs(front) * np.where(facing, 1, 0) - 0.12 * facing - u) * length * 0.8)
    colour = colour + bare[..., None] * (np.asarray(who.skin, np.float32) * light - colour)
    if BOTTOMS[who.bottom_kind] != "robe":
        lower = _lower_cloth(who)
        below = shapes.coverage((u - who.hem) * length)[..., None]
        colour = colour + below * (dress(lower, field, torso, 0.6 * who.shoulder, unit, -turned) - colour)
    if who.hem > 0 or BOTTOMS[who.bottom_kind] == "robe":
        belt = shapes.coverage((np.abs(u - max(who.hem, 0.06)) - 0.05) * length)[..., None]
        colour = colour + belt * (np.asarray(who.belt, np.float32) * light - colour)
    canvas.paint(patch, shapes.coverage(distance), colour, PART["torso"])


def _paint_skirt(canvas, figure, frames):
    who, unit, count = figure.identity, figure.unit, len(frames)
    share = who.bottom_length * 2
    ends = []
    for side in SIDES:
        hip, knee, ankle = (figure.at(f"{side}_{joint}", frames) for joint in ("hip", "knee", "ankle"))
        ends.append(hip + share * (knee - hip) if share < 1 else knee + (share - 1) * (ankle - knee))
    pelvis = figure.at("pelvis", frames)
    hem = 0.5 * (ends[0] + ends[1])
    spread = 0.5 * np.linalg.norm(ends[0] - ends[1], axis=-1)
    axis = hem - pelvis
    length = np.maximum(np.linalg.norm(axis, axis=-1), 1e-3)
    slant = np.sqrt(1 + (spread / length) ** 2)  # legs apart are wider across the skirt
    reach = spread + (0.054 * who.girth * slant + 0.03 * (who.flare - 1)) * unit
    low = np.minimum(pelvis, hem) - reach[:, None]
    high = np.maximum(pelvis, hem) + reach[:, None]
    patch = canvas.patch(frames, low, high)
    dx, dy = (shapes.column(axis[:, k] / length, count) for k in (0, 1))
    px, py = patch.x - shapes.column(pelvis[:, 0], count), patch.y - shapes.column(pelvis[:, 1], count)
    long = shapes.column(length, count)
    u, v = (px * dx + py * dy) / long, py * dx - px * dy
    turned = shapes.column(_yaw(figure.pose.hips[frames]), count)
    top = (
        np.sqrt((np.cos(turned) * (who.hip + 0.046 * who.girth)) ** 2 + (np.sin(turned) * 0.062 * who.girth) ** 2)
        * unit
    )
    bottom = shapes.column(reach, count)
    swell = shapes.column(0.04 * unit * (slant - 1), count)
    half = top + np.clip(u, -0.2, 1) * (bottom - top) + swell * (1 - u) * np.clip(1 + 8 * u, 0, 4)
    distance = np.maximum(
        (np.abs(v) - half) * long / np.sqrt(long**2 + (bottom - top) ** 2), np.maximum(-0.15 - u, u - 1) * long
    )
    across = v / half
    field = shapes.Field(distance, u, across, (-across * dy, across * dx))
    cloth = _lower_cloth(who)
    colour = dress(cloth, field, float(np.mean(length)) / unit, 0.06, unit, turned)
    folds = 1 - 0.08 * (0.5 + 0.5 * np.sin(across * 9)) * np.clip(u, 0, 1)
    canvas.paint(patch, shapes.coverage(distance), colour * folds[..., None], PART["skirt"])


def _body_axis(canvas, figure, frames, pelvis, neck, below, above):
    """Patch and coordinates along the spine: u (0 at the hips, 1 at the neck), v in pixels to the viewer's right."""
    count, unit = len(frames), figure.unit
    axis = neck - pelvis
    length = np.maximum(np.linalg.norm(axis, axis=-1), 1e-3)
    reach = 0.19 * unit
    low = np.minimum(pelvis - below * axis, pelvis + above * axis) - np.array([reach, 0.03 * unit])
    high = np.maximum(pelvis - below * axis, pelvis + above * axis) + np.array([reach, 0.03 * unit])
    patch = canvas.patch(frames, low, high)
    dx, dy = (shapes.column(axis[:, k] / length, count) for k in (0, 1))
    px, py = patch.x - shapes.column(pelvis[:, 0], count), patch.y - shapes.column(pelvis[:, 1], count)
    long = shapes.column(length, count)
    u, v = (px * dx + py * dy) / long, -px * dy + py * dx
    slopes = []
    for joint in ("hip", "shoulder"):
        line = figure.at(f"left_{joint}", frames) - figure.at(f"right_{joint}", frames)
        rise = (line * axis).sum(-1) / length
        run = line[:, 1] * axis[:, 0] / length - line[:, 0] * axis[:, 1] / length
        slopes.append(shapes.column(rise * run / (run**2 + (0.05 * unit) ** 2), count))
    tilt = slopes[0] + np.clip(u, 0, 1) * (slopes[1] - slopes[0])
    return patch, u - v * tilt / long, v, long


def _yaw(matrix):
    return np.arctan2(matrix[:, 0, 2], matrix[:, 2, 2])
