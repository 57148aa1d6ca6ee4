"""How puppets move: key poses of several styles, joined by smooth curves.

A motion is a function of time, drawn by a random generator key by key, so a longer video begins like a shorter one.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from leo_jax.data.puppets.skeleton import ARM_AXES, CONTROL, CONTROL_FIELDS, SIDES, reach

STYLES = ("gestures", "walking", "martial", "dancing")
FPS = {"gestures": 12.5, "walking": 12.5, "martial": 10.0, "dancing": 12.5}

# Where a hand goes (out, up, forward in arm lengths from its shoulder; swivel: 0 elbow below, 1.5 elbow outside).
HANDS: Mapping[str, tuple[float, float, float, float]] = {
    "rest": (0.12, -0.93, 0.10, 0.6),
    "hip": (0.02, -0.60, 0.16, 1.5),
    "wave": (0.42, 0.55, 0.22, 0.6),
    "side": (0.93, 0.08, 0.20, 0.5),
    "side_up": (0.72, 0.62, 0.15, 0.7),
    "up": (0.22, 0.90, 0.15, 0.9),
    "open_low": (0.58, -0.62, 0.35, 0.7),
    "open": (0.66, -0.18, 0.42, 0.4),
    "offer": (0.20, -0.30, 0.72, 0.3),
    "chest": (-0.30, -0.28, 0.36, 0.9),
    "chin": (-0.18, 0.13, 0.40, 0.4),
    "hair": (-0.02, 0.46, 0.12, 1.3),
    "shrug": (0.52, -0.34, 0.34, 0.2),
    "clap": (-0.27, -0.18, 0.58, 0.5),
    "across": (-0.62, -0.20, 0.48, 0.8),
    "back": (-0.12, -0.60, -0.28, 1.2),
    "push": (0.10, 0.02, 0.88, 0.6),
    "ball_high": (-0.22, -0.05, 0.52, 1.4),
    "ball_low": (-0.22, -0.62, 0.46, 0.7),
    "ward": (-0.12, 0.05, 0.70, 1.3),
    "cloud": (0.40, 0.22, 0.62, 0.8),
    "press": (0.30, -0.66, 0.36, 1.0),
    "crane": (0.55, 0.72, 0.28, 0.9),
    "whip": (0.90, 0.16, 0.24, 0.4),
    "fist": (0.06, -0.44, 0.14, 0.2),
    "pump": (0.30, 0.38, 0.40, 0.7),
    "guard": (-0.02, 0.02, 0.50, 0.4),
}
GESTURES = (
    *(("rest", "wave"), ("rest", "side"), ("rest", "side_up"), ("hip", "hip"), ("hip", "up"), ("open", "open")),
    *(("open_low", "open_low"), ("chest", "rest"), ("chest", "open"), ("chin", "hip"), ("hair", "hip"), ("up", "up")),
    *(("shrug", "shrug"), ("clap", "clap"), ("side", "side"), ("offer", "offer"), ("across", "hip"), ("wave", "wave")),
    *(
        ("rest", "rest"),
        ("side_up", "side_up"),
        ("hair", "hair"),
        ("back", "wave"),
        ("side", "chest"),
        ("push", "rest"),
    ),
)
# Martial forms: hands, then the stance: distance between the feet, one foot's advance, weight on the left foot (-1..1),
# drop of the pelvis, turn of the body, lift of the unweighted foot.
FORMS = (
    (("press", "press"), (0.30, 0.00, 0.0, 0.05, 0.0, 0.0)),
    (("push", "push"), (0.40, 0.10, 0.7, 0.09, 0.3, 0.0)),
    (("ball_high", "ball_low"), (0.34, 0.00, 0.6, 0.08, 0.4, 0.0)),
    (("ward", "press"), (0.46, 0.10, 0.8, 0.11, 0.3, 0.0)),
    (("whip", "cloud"), (0.52, 0.06, 0.8, 0.13, 0.2, 0.0)),
    (("whip", "whip"), (0.50, 0.00, 0.0, 0.14, 0.0, 0.0)),
    (("cloud", "press"), (0.40, 0.00, 0.6, 0.09, 0.4, 0.0)),
    (("cloud", "cloud"), (0.44, 0.00, -0.2, 0.12, 0.0, 0.0)),
    (("crane", "press"), (0.30, 0.08, -0.9, 0.05, 0.2, 0.12)),
    (("crane", "crane"), (0.22, 0.02, 0.95, 0.02, 0.0, 0.22)),
    (("up", "press"), (0.20, 0.02, 0.95, 0.02, 0.1, 0.24)),
    (("push", "fist"), (0.48, 0.12, 0.8, 0.12, 0.5, 0.0)),
    (("side", "fist"), (0.54, 0.00, 0.5, 0.16, 0.3, 0.0)),
    (("guard", "guard"), (0.42, 0.10, -0.7, 0.10, -0.3, 0.0)),
    (("ball_low", "crane"), (0.44, 0.04, -0.8, 0.12, -0.4, 0.0)),
)
DANCE_HANDS = (
    *(("pump", "pump"), ("up", "hip"), ("side_up", "open_low"), ("hair", "hip"), ("side", "chest"), ("open", "open")),
    *(("up", "up"), ("wave", "press"), ("side_up", "side_up"), ("across", "side"), ("guard", "pump"), ("hip", "hip")),
)


def controls(
    rng: np.random.Generator, style: str, times: Float[np.ndarray, " t"], vigour: float
) -> Float[np.ndarray, "t a"]:
    """The controls (t, CONTROL_FIELDS) of one motion at `times` in seconds; `vigour` scales how far it departs from rest.

    Raises: ValueError for a style not in STYLES.
    """
    if style not in _MOTIONS:
        raise ValueError(f"style {style!r} is unknown: choose one of {', '.join(STYLES)}")
    return _MOTIONS[style](rng, np.asarray(times, np.float64), vigour)


def _gestures(rng, times, vigour):
    facing = rng.uniform(-0.35, 0.35)
    stance = rng.uniform(0.09, 0.15)
    waving, opening = rng.uniform(0.25, 0.5), rng.uniform(0.1, 0.45)
    drift = _Sway(rng)

    def draw(rng, previous):
        key = {}
        pair = _other(rng, GESTURES, previous.get("pair"))
        hands = pair if rng.random() < 0.5 else pair[::-1]
        key["pair"] = pair
        _set_hands(key, rng, hands, 0.08)
        weight = rng.choice((-1.0, 1.0)) * rng.uniform(0.3, 1.0)
        key |= {
            "pelvis_x": 0.045 * weight,
            "pelvis_drop": rng.uniform(0, 0.025),
            "pelvis_yaw": rng.uniform(-0.12, 0.12),
        }
        key |= {"pelvis_roll": 0.05 * weight, "side_bend": rng.normal(0, 0.07), "twist": rng.normal(0, 0.16)}
        key |= {"lean": rng.uniform(-0.03, 0.12), "shrug": 0.02 if "shrug" in pair else 0.0}
        key |= {"head_yaw": rng.normal(0, 0.3), "head_pitch": rng.normal(0, 0.1), "head_roll": rng.normal(0, 0.1)}
        for side in SIDES:
            key[f"waves_{side}"] = float(hands[side == "right"] == "wave")
        return key

    period = rng.uniform(0.5, 0.7)
    out = _through_keys(rng, draw, times, period, vigour, ("waves_left", "waves_right"))
    for side in SIDES:
        swing = out.pop(f"waves_{side}") * np.sin(2 * np.pi * 1.7 * times)
        out[f"{side}_arm_turn"] = out[f"{side}_arm_turn"] + waving * swing
    out["pelvis_yaw"] = out["pelvis_yaw"] + facing
    out["pelvis_x"] = out["pelvis_x"] + 0.008 * drift(times)
    return _stand(out, stance, facing, opening)


def _walking(rng, times, vigour):
    pace = rng.uniform(0.8, 1.05)  # strides per second
    facing = rng.choice((-1, 1)) * rng.choice((rng.uniform(0.0, 0.5), rng.uniform(0.7, 1.35)))
    stride = rng.uniform(0.10, 0.16) * vigour
    swing = rng.uniform(0.35, 0.65) * vigour
    bent, lift, bounce = (
        rng.uniform(0.15, 0.9),
        rng.uniform(0.06, 0.12) + 0.07 * np.cos(facing) ** 2,
        rng.uniform(0.008, 0.016),
    )
    width, lean = rng.uniform(0.035, 0.05), rng.uniform(0.02, 0.1)
    phase = 2 * np.pi * (pace * times + rng.random())
    look, turning = rng.normal(0, 0.15), _Sway(rng)
    out = _zeros(len(times))
    heading = facing + 0.25 * turning(times)
    out |= {"pelvis_yaw": heading + 0.12 * np.sin(phase), "twist": -0.28 * np.sin(phase), "lean": out["lean"] + lean}
    out |= {"pelvis_drop": 0.8 * bounce * (1 + np.cos(2 * phase)), "pelvis_roll": 0.04 * np.cos(phase)}
    out |= {"head_yaw": look + 0.16 * np.sin(phase) - 0.3 * facing, "head_pitch": 0.03 * np.cos(2 * phase)}
    out["pelvis_x"] = 0.012 * np.cos(phase) * np.cos(heading)
    for side, sign, shift in (("left", 1.0, 0.0), ("right", -1.0, np.pi)):
        forward, up = _step(phase + shift)
        along, across = stride * forward, sign * width
        out[f"{side}_foot_x"] = along * np.sin(heading) + across * np.cos(heading)
        out[f"{side}_foot_z"] = along * np.cos(heading) - across * np.sin(heading)
        out[f"{side}_foot_lift"] = lift * vigour * up
        out[f"{side}_foot_yaw"] = np.full(len(times), 0.08)
        ahead = -swing * np.sin(phase + shift + 1.4)  # opposite to the foot of the same side
        out[f"{side}_arm_raise"] = ahead + 0.05
        out[f"{side}_arm_heading"] = np.full(len(times), 1.45)
        out[f"{side}_arm_turn"] = np.full(len(times), 0.25)
        out[f"{side}_arm_elbow"] = bent + 0.5 * (swing + ahead)
    return _pack(out)


def _martial(rng, times, vigour):
    facing = rng.uniform(-0.5, 0.5)

    def draw(rng, previous):
        key = {}
        form = _other(rng, FORMS, previous.get("form"))
        key["form"] = form
        hands, (spread, advance, weight, drop, yaw, lift) = form
        mirrored = rng.random() < 0.5
        _set_hands(key, rng, hands[::-1] if mirrored else hands, 0.06)
        sign = -1.0 if mirrored else 1.0
        weight *= sign
        spread *= rng.uniform(0.9, 1.1)
        # Body faces `facing`, so the stance opens across that direction.
        for side, out in (("left", 1.0), ("right", -1.0)):
            free = lift * (out * weight < 0)
            across, along = 0.5 * spread * out, advance * out * sign
            if free:
                across, along = 0.25 * spread * out, 0.10
            key[f"{side}_foot_x"] = across * np.cos(facing) + along * np.sin(facing)
            key[f"{side}_foot_z"] = along * np.cos(facing) - across * np.sin(facing)
            key[f"{side}_foot_lift"] = free
            key[f"{side}_foot_yaw"] = 0.25 + 0.5 * max(spread - 0.3, 0)
        balance = 0.5 * weight if not lift else 0.9 * weight
        key["pelvis_x"] = balance * 0.5 * spread * np.cos(facing)
        key["pelvis_z"] = balance * sign * advance * np.cos(facing) - balance * 0.5 * spread * np.sin(facing)
        key |= {
            "pelvis_drop": drop * rng.uniform(0.7, 1.15),
            "pelvis_yaw": facing + 0.8 * sign * yaw,
            "twist": 0.5 * sign * yaw,
        }
        key |= {
            "lean": rng.uniform(0, 0.1),
            "side_bend": rng.normal(0, 0.04),
            "head_yaw": -0.4 * sign * yaw + rng.normal(0, 0.15),
        }
        return key

    out = _through_keys(rng, draw, times, rng.uniform(0.75, 1.0), vigour, ())
    return _pack(out)


def _dancing(rng, times, vigour):
    beat = rng.uniform(0.42, 0.55)  # seconds
    facing, stance = rng.uniform(-0.4, 0.4), rng.uniform(0.14, 0.24)
    sway, bounce, roll = rng.uniform(0.03, 0.075), rng.uniform(0.015, 0.05), rng.uniform(0.05, 0.16)
    turning, twist, stepping = rng.uniform(0.0, 0.35), rng.uniform(0.05, 0.25), rng.uniform(0.0, 0.09)
    opening = rng.uniform(0.15, 0.5)

    def draw(rng, previous):
        key = {}
        key["pair"] = _other(rng, DANCE_HANDS, previous.get("pair"))
        _set_hands(key, rng, key["pair"] if rng.random() < 0.5 else key["pair"][::-1], 0.1)
        key |= {"side_bend": rng.normal(0, 0.1), "head_yaw": rng.normal(0, 0.25), "head_roll": rng.normal(0, 0.14)}
        return key

    phase = np.pi * times / beat + 2 * np.pi * rng.random()
    out = _through_keys(rng, draw, times, beat, vigour, ())
    out["pelvis_x"] = vigour * sway * np.sin(phase)
    out["pelvis_drop"] = 0.012 + vigour * bounce * (1 + np.cos(2 * phase))
    out["pelvis_roll"] = vigour * roll * np.sin(phase)
    out["side_bend"] = out["side_bend"] - 0.6 * vigour * roll * np.sin(phase)
    out["pelvis_yaw"] = facing + vigour * turning * np.sin(phase / 2)
    out["twist"] = vigour * twist * np.sin(phase + 0.6)
    out["lean"] = 0.05 + 0.05 * np.cos(2 * phase)
    out["head_pitch"] = 0.08 * np.cos(2 * phase + 0.5)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        free = np.maximum(-sign * np.sin(phase), 0) ** 2  # the hip sways to the other side
        across = sign * (0.5 * stance - vigour * 0.3 * stepping * free)
        out[f"{side}_foot_x"] = across * np.cos(facing)
        out[f"{side}_foot_z"] = -across * np.sin(facing) + 0.3 * stepping * free
        out[f"{side}_foot_lift"] = vigour * stepping * free
        out[f"{side}_foot_yaw"] = np.full(len(times), opening)
    return _pack(out)


_MOTIONS = {"gestures": _gestures, "walking": _walking, "martial": _martial, "dancing": _dancing}


class _Sway:
    """A slow irregular oscillation of about unit size: three sines of unrelated periods."""

    def __init__(self, rng):
        self.rates, self.phases = rng.uniform(0.1, 0.45, 3), rng.uniform(0, 2 * np.pi, 3)

    def __call__(self, times):
        return np.sin(2 * np.pi * self.rates * times[:, None] + self.phases).sum(-1) / np.sqrt(3)


def _through_keys(rng, draw, times, period, vigour, extra):
    """Joins keys `period` seconds apart: a cubic through all of them, slowing down at each; feet step with a lift."""
    count = int(np.floor(times.max() / period)) + 4
    keys = []
    for _ in range(count):
        keys.append(draw(rng, keys[-1] if keys else {}))
    position = times / period + 1.0
    names = (*CONTROL_FIELDS, *extra)
    table = np.array([[key.get(name, 0.0) for name in names] for key in keys])
    rest = np.array([_REST.get(name, 0.0) for name in names])
    gentle = np.array([1.0 if name.startswith(("waves", "left_foot", "right_foot")) else vigour for name in names])
    table = rest + gentle * (table - rest)
    out = dict(zip(names, _cubic(table, position).T, strict=True))
    for side in SIDES:
        _take_steps(out, table, names, side, position)
    return out


def _cubic(table, position, tension: float = 0.6):
    """Cubic Hermite curve through the rows of `table`; tangents are `tension` times Catmull and Rom's."""
    i = np.clip(np.floor(position).astype(int), 1, len(table) - 3)
    s = (position - i)[:, None]
    before, start, end, after = (table[i + k] for k in (-1, 0, 1, 2))
    leave, arrive = 0.5 * tension * (end - before), 0.5 * tension * (after - start)
    return (
        (1 + 2 * s) * (1 - s) ** 2 * start + s * (1 - s) ** 2 * leave
        + s**2 * (3 - 2 * s) * end + s**2 * (s - 1) * arrive
    )  # fmt: skip


def _take_steps(out, table, names, side, position):
    """Feet rest at a key and travel between two keys, lifted on the way in proportion to the distance."""
    i = np.clip(np.floor(position).astype(int), 1, len(table) - 3)
    s = np.clip((position - i - 0.12) / 0.76, 0, 1)
    ease = s**3 * (10 - 15 * s + 6 * s**2)
    columns = [names.index(f"{side}_foot_{axis}") for axis in ("x", "z", "lift", "yaw")]
    start, end = table[i][:, columns], table[i + 1][:, columns]
    x, z, lift, yaw = (start + ease[:, None] * (end - start)).T
    distance = np.hypot(*(end - start)[:, :2].T)
    lift = lift + 0.22 * distance * 16 * (s * (1 - s)) ** 2
    out |= {f"{side}_foot_x": x, f"{side}_foot_z": z, f"{side}_foot_lift": lift, f"{side}_foot_yaw": yaw}


def _step(phase):
    """A foot's (advance in -1..1, lift in 0..1): back at constant speed on the floor, forward through the air."""
    u = (phase / (2 * np.pi)) % 1.0
    flight = np.clip((u - 0.56) / 0.44, 0, 1)
    ease = flight * flight * (3 - 2 * flight)
    advance = np.where(u < 0.56, 1 - 2 * u / 0.56, -1 + 2 * ease)
    return advance, np.sin(np.pi * flight) ** 2


_ARMS = {name: reach(*place) for name, place in HANDS.items()}
_REST = {f"{side}_arm_{axis}": _ARMS["rest"][k] for side in SIDES for k, axis in enumerate(ARM_AXES)}


def _set_hands(key, rng, hands, spread):
    for side, name in zip(SIDES, hands, strict=True):
        for axis, value in zip(ARM_AXES, _ARMS[name], strict=True):
            key[f"{side}_arm_{axis}"] = value + rng.normal(0, spread)


def _stand(out, stance, facing, opening):
    """Both feet on the floor for the entire video, `stance` apart across the direction `facing`."""
    still = np.ones_like(out["pelvis_x"])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        out[f"{side}_foot_x"] = still * sign * 0.5 * stance * np.cos(facing)
        out[f"{side}_foot_z"] = -still * sign * 0.5 * stance * np.sin(facing)
        out[f"{side}_foot_yaw"] = still * opening
    return _pack(out)


def _other(rng, choices, previous):
    """One of the choices, not the previous one."""
    while (choice := choices[rng.integers(len(choices))]) is previous:
        continue
    return choice


def _zeros(frames):
    return {name: np.zeros(frames) for name in CONTROL_FIELDS}


def _pack(out):
    table = np.zeros((len(out["pelvis_x"]), len(CONTROL_FIELDS)))
    for name, column in CONTROL.items():
        table[:, column] = out[name]
    return table
