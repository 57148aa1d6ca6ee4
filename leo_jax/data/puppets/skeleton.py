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

# What a motion style decides in every frame. Hands are relative to their shoulder, in the chest's frame and arm lengths
# (out: away from the body's middle); feet are on the floor, in standing heights; angles in radians.
CONTROL_FIELDS = (
    *("pelvis_x", "pelvis_drop", "pelvis_z", "pelvis_yaw", "pelvis_roll"),
    *("lean", "side_bend", "twist", "shrug", "head_yaw", "head_pitch", "head_roll"),
    *(f"{side}_hand_{axis}" for side in SIDES for axis in ("out", "up", "forward", "swivel")),
    *(f"{side}_foot_{axis}" for side in SIDES for axis in ("x", "z", "lift", "yaw")),
)
CONTROL = {name: i for i, name in enumerate(CONTROL_FIELDS)}
# The record's motion vector: the controls as they were asked for, then the hinge angles that followed (0 = straight).
HINGES = ("left_elbow", "right_elbow", "left_knee", "right_knee")
MOTION_FIELDS = CONTROL_FIELDS + HINGES

LONGEST_REACH = 0.985  # of a limb's length: it never locks straight, so hinges keep their direction
SHORTEST_REACH = {"arm": 0.28, "leg": 0.35}  # limits elbows to 147 and knees to 139 degrees of flexion


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

    height = body.ankle + leg * (LONGEST_REACH - 0.02) - c["pelvis_drop"]
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
        arm = body.upper_arm + body.forearm
        local = np.stack([out * c[f"{side}_hand_out"], c[f"{side}_hand_up"], c[f"{side}_hand_forward"]], -1) * arm
        swivel = c[f"{side}_hand_swivel"]
        # A raised arm's elbow points down, a hanging one's back; between, the pole keeps away from the arm itself.
        hanging = np.clip(-(c[f"{side}_hand_up"] + 0.1) / 0.6, 0, 1)
        hanging = hanging**2 * (3 - 2 * hanging)
        pole = np.stack([out * np.sin(swivel), -np.cos(swivel) * (1 - hanging), -0.45 - 0.8 * hanging], -1)
        elbow, wrist, hinges[f"{side}_elbow"] = bend(
            shoulder, shoulder + turn(chest, local), turn(chest, pole), body.upper_arm, body.forearm, SHORTEST_REACH["arm"]
        )
        hip = pelvis + side_of_hip[side]
        yaw = c["pelvis_yaw"] + out * c[f"{side}_foot_yaw"]
        forward = np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], -1)
        # The bend of a knee follows the foot, and goes up in a lifted leg.
        knee_pole = forward + np.stack([0 * yaw, 1.5 * np.minimum(c[f"{side}_foot_lift"], 0.3), 0 * yaw], -1)
        knee, ankle, hinges[f"{side}_knee"] = bend(
            hip, ankles[side], knee_pole, body.thigh, body.shin, SHORTEST_REACH["leg"]
        )
        droop = np.minimum(0.8 * body.ankle + 0.35 * c[f"{side}_foot_lift"], 0.8 * body.foot)
        toe = ankle + forward * np.sqrt(body.foot**2 - droop**2)[:, None] - np.stack([0 * yaw, droop, 0 * yaw], -1)
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
