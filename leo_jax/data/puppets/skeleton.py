"""A three-dimensional stick figure: proportions, two-bone inverse kinematics, projection to the frame.

Axes: x to the viewer's right, y up, z towards the viewer; one unit is the person's standing height; the floor is y = 0.
At yaw 0 the person faces the viewer, so the person's left side is at +x. Arrays run over the t frames of a video.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SIDES = ("left", "right")
JOINT_NAMES = (
    "head",
    "neck",
    "pelvis",
    *(f"{side}_{joint}" for side in SIDES for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe")),
)
JOINT = {name: i for i, name in enumerate(JOINT_NAMES)}

# What a motion style decides in every frame: angles in radians, lengths in standing heights.
# An arm has four angles (see `arm`): how far it is raised from hanging, where to (0 outwards, pi/2 forwards), which way
# the forearm bends (0: on upwards), and the elbow's flexion. Feet are placed on the floor, legs follow from the pelvis.
ARM_AXES = ("raise", "heading", "turn", "elbow")
FOOT_AXES = ("x", "z", "lift", "yaw")
CONTROL_FIELDS = (
    *("pelvis_x", "pelvis_drop", "pelvis_z", "pelvis_yaw", "pelvis_roll"),
    *("lean", "side_bend", "twist", "shrug", "head_yaw", "head_pitch", "head_roll"),
    *(f"{side}_arm_{axis}" for side in SIDES for axis in ARM_AXES),
    *(f"{side}_foot_{axis}" for side in SIDES for axis in FOOT_AXES),
)
CONTROL = {name: i for i, name in enumerate(CONTROL_FIELDS)}
# The record's motion vector: the controls as they were asked for, then the hinge angles that followed (0 = straight).
HINGES = ("left_elbow", "right_elbow", "left_knee", "right_knee")
MOTION_FIELDS = CONTROL_FIELDS + HINGES

LONGEST_REACH = 0.994  # of a limb's length: it never locks straight, so hinges keep their direction
SHORTEST_LEG = 0.35  # of its length: limits knees to 139 degrees of flexion
ELBOW = (0.12, 2.5)  # limits of its flexion
_HANGING = 0.12  # a hanging arm points that far outwards, clear of the hips


@dataclass(frozen=True)
class Proportions:
    """Lengths in standing heights; `head` is the head's height, `shoulder` and `hip` are half widths."""

    head: float
    neck: float
    torso: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    ankle: float
    foot: float


@dataclass(frozen=True)
class Pose:
    """`joints` (t, j, 3); `chest`, `skull`, `hips` rotation matrices (t, 3, 3); `hinges` (t, 4) angles, 0 = straight."""

    joints: np.ndarray
    chest: np.ndarray
    skull: np.ndarray
    hips: np.ndarray
    hinges: np.ndarray

    def part(self, frames: slice) -> "Pose":
        """The pose in some of the frames."""
        return Pose(*(getattr(self, field.name)[frames] for field in dataclasses.fields(self)))


def rotation(yaw, pitch, roll) -> Float[np.ndarray, "t 3 3"]:
    """R_y(yaw)·R_x(pitch)·R_z(roll); positive pitch leans forward, positive roll leans to the viewer's left."""
    yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
    cy, sy, cx, sx, cz, sz = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rows = (
        (cy * cz + sy * sx * sz, -cy * sz + sy * sx * cz, sy * cx),
        (cx * sz, cx * cz, -sx),
        (-sy * cz + cy * sx * sz, sy * sz + cy * sx * cz, cy * cx),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def turn(matrix: Float[np.ndarray, "t 3 3"], vector: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
    """The vectors, rotated."""
    return (matrix @ vector[..., None])[..., 0]


def arm(raised, heading, turning, flexion):
    """Directions (t, 3) of the upper arm and the forearm of a left arm, in the chest's frame; a right one mirrors x.

    The upper arm is `raised` from hanging towards `heading`; the forearm leaves its line by `flexion`, towards upwards
    (along the meridian) for `turning` 0 and a quarter turn on in the direction of growing headings for pi/2.
    """
    sine, cosine = np.sin(raised), np.cos(raised)
    east, ahead = np.cos(heading), np.sin(heading)
    upper = np.stack([sine * east, -cosine, sine * ahead], -1)
    meridian = np.stack([cosine * east, sine, cosine * ahead], -1)
    parallel = np.stack([-ahead, 0 * ahead, east], -1)
    sideways = np.cos(turning)[..., None] * meridian + np.sin(turning)[..., None] * parallel
    lower = np.cos(flexion)[..., None] * upper + np.sin(flexion)[..., None] * sideways
    clear = rotation(0.0, 0.0, np.full(1, _HANGING))[0]
    return upper @ clear.T, lower @ clear.T


def reach(out: float, up: float, forward: float, swivel: float) -> tuple[float, float, float, float]:
    """The ARM_AXES angles that bring a hand to a place, in arm lengths from its shoulder.

    `swivel` puts the elbow below (0) or outside (pi/2) the line to the hand.
    """
    clear = rotation(0.0, 0.0, np.full(1, _HANGING))[0]
    target, pole = (np.array(v) @ clear for v in ((out, up, forward), (np.sin(swivel), -np.cos(swivel), -0.45)))
    elbow, hand, flexion = bend(np.zeros((1, 3)), target[None], pole[None], 0.53, 0.47, 0.3)
    upper, lower = elbow[0] / 0.53, (hand - elbow)[0] / 0.47
    raised, heading = np.arccos(np.clip(-upper[1], -1, 1)), np.arctan2(upper[2], upper[0])
    if heading < -np.pi / 4:  # backwards is a negative raise, so that arms swing past hanging without turning over
        raised, heading = -raised, heading + np.pi
    meridian = np.array([np.cos(raised) * np.cos(heading), np.sin(raised), np.cos(raised) * np.sin(heading)])
    parallel = np.array([-np.sin(heading), 0.0, np.cos(heading)])
    turning = np.arctan2(lower @ parallel, lower @ meridian)
    if turning < -2 * np.pi / 3:  # elbows turn from -120 to 240 degrees
        turning += 2 * np.pi
    return float(raised), float(heading), float(turning), float(flexion[0])


def bend(root, target, pole, upper: float, lower: float, shortest: float):
    """Two-bone inverse kinematics: (middle joint, end joint, flexion), each over t.

    The hinge bends towards `pole`; targets out of reach are pulled to the nearest reachable distance.
    """
    along = target - root
    distance = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    along = along / distance
    reach = (upper + lower) * smooth_clip(distance / (upper + lower), shortest, LONGEST_REACH)
    cosine = (upper**2 + reach**2 - lower**2) / (2 * upper * reach)
    sideways = pole - (pole * along).sum(-1, keepdims=True) * along
    sideways = sideways / np.maximum(np.linalg.norm(sideways, axis=-1, keepdims=True), 1e-6)
    middle = root + upper * (cosine * along + np.sqrt(np.maximum(1 - cosine**2, 0)) * sideways)
    straight = (upper**2 + lower**2 - reach**2) / (2 * upper * lower)
    flexion = np.pi - np.arccos(np.clip(straight, -1, 1))
    return middle, root + reach * along, flexion[..., 0]


def smooth_clip(x, low: float, high: float, softness: float = 0.06):
    """Clip to [low, high] without a corner at the upper end, where limbs would snap straight."""
    start = high - softness
    over = np.maximum(x - start, 0)
    return np.maximum(np.where(over > 0, start + softness * (1 - np.exp(-over / softness)), x), low)


def pose(controls: Float[np.ndarray, "t a"], body: Proportions) -> Pose:
    """Solves the figure: feet stay where the controls put them, the pelvis sinks as far as the legs need."""
    c = {name: controls[:, i] for name, i in CONTROL.items()}
    hips = rotation(c["pelvis_yaw"], 0.0, c["pelvis_roll"])
    chest_yaw = c["pelvis_yaw"] + c["twist"]
    chest = rotation(chest_yaw, c["lean"], c["side_bend"])
    skull = rotation(
        chest_yaw + c["head_yaw"], 0.4 * c["lean"] + c["head_pitch"], 0.4 * c["side_bend"] + c["head_roll"]
    )
    leg = body.thigh + body.shin
    ankles = {
        side: np.stack([c[f"{side}_foot_x"], body.ankle + c[f"{side}_foot_lift"], c[f"{side}_foot_z"]], -1)
        for side in SIDES
    }
    sign = {"left": 1.0, "right": -1.0}
    side_of_hip = {side: turn(hips, _constant(len(controls), sign[side] * body.hip)) for side in SIDES}

    height = body.ankle + leg * (LONGEST_REACH - 0.006) - c["pelvis_drop"]
    for side in SIDES:
        away = side_of_hip[side] + np.stack([c["pelvis_x"], 0 * height, c["pelvis_z"]], -1) - ankles[side]
        highest = ankles[side][:, 1] + np.sqrt(
            np.maximum((LONGEST_REACH * leg) ** 2 - away[:, 0] ** 2 - away[:, 2] ** 2, 0.01)
        )
        height = soft_minimum(height, highest - side_of_hip[side][:, 1])
    pelvis = np.stack([c["pelvis_x"], height, c["pelvis_z"]], -1)
    neck = pelvis + turn(chest, _constant(len(controls), y=body.torso))
    head = neck + turn(skull, _constant(len(controls), y=body.neck + 0.46 * body.head, z=0.012))

    joints = {"pelvis": pelvis, "neck": neck, "head": head}
    hinges = {}
    for side in SIDES:
        out = sign[side]
        shoulder = neck + turn(chest, np.stack([0 * height + out * body.shoulder, c["shrug"] - 0.012, 0 * height], -1))
        raised, heading, turning, elbow_bend = (c[f"{side}_arm_{axis}"] for axis in ARM_AXES)
        hinges[f"{side}_elbow"] = np.clip(elbow_bend, *ELBOW)
        upper, lower = arm(raised, heading, turning, hinges[f"{side}_elbow"])
        elbow = shoulder + body.upper_arm * turn(chest, upper * [out, 1, 1])
        wrist = elbow + body.forearm * turn(chest, lower * [out, 1, 1])
        hip = pelvis + side_of_hip[side]
        yaw = c["pelvis_yaw"] + out * c[f"{side}_foot_yaw"]
        ahead = np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], -1)
        # The bend of a knee follows the foot, and goes up in a lifted leg.
        knee_pole = ahead + np.stack([0 * yaw, 1.5 * np.minimum(c[f"{side}_foot_lift"], 0.3), 0 * yaw], -1)
        knee, ankle, hinges[f"{side}_knee"] = bend(hip, ankles[side], knee_pole, body.thigh, body.shin, SHORTEST_LEG)
        droop = np.minimum(0.8 * body.ankle + 0.35 * c[f"{side}_foot_lift"], 0.8 * body.foot)
        toe = ankle + ahead * np.sqrt(body.foot**2 - droop**2)[:, None] - np.stack([0 * yaw, droop, 0 * yaw], -1)
        for name, value in zip(
            ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe"),
            (shoulder, elbow, wrist, hip, knee, ankle, toe),
            strict=True,
        ):
            joints[f"{side}_{name}"] = value
    return Pose(
        joints=np.stack([joints[name] for name in JOINT_NAMES], 1),
        chest=chest,
        skull=skull,
        hips=hips,
        hinges=np.stack([hinges[name] for name in HINGES], -1),
    )


@dataclass(frozen=True)
class Camera:
    """A fixed camera slightly above the person: `scale` is a standing height in frame heights, `centre` x in [0, 1]."""

    scale: float
    centre: float
    floor: float
    tilt: float = 0.13
    perspective: float = 0.12

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Frame coordinates in [0, 1], x to the right and y down."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        near = 1 + self.perspective * z
        horizontal = self.centre + self.scale * x * near
        # Heights grow about the middle of the body, so that a hand pushed at the viewer gets neither higher nor lower.
        vertical = self.floor - self.scale * (0.5 + (y - 0.5) * near - self.tilt * z)
        return np.stack([horizontal, vertical], -1)


def soft_minimum(a, b, softness: float = 0.004):
    """min(a, b) rounded by about `softness` below the corner."""
    return np.minimum(a, b) - softness * np.log1p(np.exp(-np.abs(a - b) / softness))


def _constant(frames: int, x: float = 0.0, y: float = 0.0, z: float = 0.0):
    return np.broadcast_to(np.array([x, y, z], np.float64), (frames, 3))
