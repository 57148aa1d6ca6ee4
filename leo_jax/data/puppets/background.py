"""What stands still behind a puppet: gradients, rooms, landscapes and textured walls, the same at every size."""

import colorsys

import cv2
import numpy as np
from jaxtyping import Float

from leo_jax.data.puppets.appearance import Identity

EASY = ("gradient", "clouds", "room")
FULL = ("gradient", "clouds", "room", "room", "landscape", "landscape", "bricks", "city")


def draw(
    rng: np.random.Generator, preset: str, size: int, floor: float, identity: Identity
) -> Float[np.ndarray, "h w 3"]:
    """A background in 0..1 whose main colours keep away from the clothes; `floor` is the feet's height in the frame."""
    y, x = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    kind = str(rng.choice(EASY if preset == "easy" else FULL))
    wall, ground = (_quiet_colour(rng, preset, identity) for _ in range(2))
    image = _PAINTERS[kind](rng, x, y, wall, ground, floor)
    if preset == "full":
        grain = 0.5 * _noise(rng, size, 24) + 0.5 * _noise(rng, size, 9)
        image = image * (1 + rng.uniform(0.01, 0.06) * grain[..., None])
    return np.clip(image, 0, 1).astype(np.float32)


def _gradient(rng, x, y, wall, ground, floor):
    angle = rng.uniform(0, 2 * np.pi)
    along = 0.5 + 0.6 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    image = _mix(wall, ground, along)
    return _mix(image, image * 0.78, _soft(y - floor + 0.06, 0.03)) if rng.random() < 0.7 else image


def _clouds(rng, x, y, wall, ground, floor):
    size = len(x)
    blot = _noise(rng, size, 3) * 0.35 + _noise(rng, size, 6) * 0.15
    image = _mix(wall, ground, np.clip(0.5 + blot, 0, 1))
    return _mix(image, 0.75 * image, _soft(y - floor + 0.07, 1 / size))


def _room(rng, x, y, wall, ground, floor):
    size = len(x)
    edge = floor - rng.uniform(0.06, 0.16)
    image = wall * (1.06 - 0.18 * np.hypot(x - rng.uniform(0, 1), y - 0.1))[..., None]
    for _ in range(rng.integers(0, 3)):
        left, top = rng.uniform(-0.1, 0.8), rng.uniform(0.02, 0.4)
        wide, high = rng.uniform(0.12, 0.32), rng.uniform(0.12, 0.35)
        inner = _mix(ground * rng.uniform(0.8, 1.2), np.array([0.75, 0.85, 0.95]), 0.6 * rng.random() * np.ones_like(x))
        image = _mix(image, wall * 0.6, _box(x, y, left - 0.014, top - 0.014, wide + 0.028, high + 0.028, size))
        image = _mix(image, inner * (1 - 0.25 * (y - top)[..., None]), _box(x, y, left, top, wide, high, size))
    boards = 0.06 * np.sin(2 * np.pi * (x - 0.5) / (0.05 + 0.5 * np.maximum(y - edge, 0)) * rng.uniform(0.1, 0.35))
    planks = ground * (0.82 + 0.3 * (y - edge) + (boards if rng.random() < 0.5 else 0 * x))[..., None]
    image = _mix(image, wall * 0.7, _soft(y - edge + 0.018, 0.5 / size))
    return _mix(image, planks, _soft(y - edge, 0.5 / size))


def _landscape(rng, x, y, wall, ground, floor):
    size = len(x)
    sky = _mix(np.array(colorsys.hsv_to_rgb(rng.uniform(0.52, 0.64), rng.uniform(0.2, 0.6), 0.95)), np.ones(3), 0.2 + y)
    puffs = np.clip(_noise(rng, size, 5) - 0.3, 0, 1) * np.clip(0.8 - 1.5 * y, 0, 1)
    image = _mix(sky, np.ones(3), puffs)
    green = np.array(colorsys.hsv_to_rgb(rng.uniform(0.16, 0.42), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.75)))
    for layer in range(3):
        ridge = (
            floor
            - 0.42
            + 0.13 * layer
            + 0.035 * sum(np.sin(2 * np.pi * (k * x * rng.uniform(0.6, 1.4) + rng.random())) / k for k in (1, 2, 4))
        )
        image = _mix(
            image,
            _mix(sky, green * (1.1 - 0.15 * layer), np.full_like(x, 0.4 + 0.25 * layer)),
            _soft(y - ridge, 0.6 / size),
        )
    for _ in range(rng.integers(0, 5)):
        place, foot, tall = rng.uniform(0, 1), floor - rng.uniform(0.08, 0.2), rng.uniform(0.2, 0.45)
        image = _mix(image, np.array([0.35, 0.25, 0.18]), _box(x, y, place - 0.012, foot - tall, 0.024, tall, size))
        crown = np.hypot((x - place) / 0.8, y - foot + tall) - tall * 0.42 * (1 + 0.2 * _noise(rng, size, 7))
        image = _mix(
            image, green * rng.uniform(0.45, 0.8) * (1 - 0.4 * (y - foot + tall))[..., None], _soft(-crown, 0.7 / size)
        )
    meadow = green * (0.95 + 0.1 * _noise(rng, size, 30))[..., None]
    return _mix(image, meadow, _soft(y - floor + 0.14, 0.02))


def _bricks(rng, x, y, wall, ground, floor):
    size = len(x)
    high = rng.uniform(0.05, 0.1)
    wide = high * rng.uniform(1.0, 2.4)
    row = np.floor(y / high)
    joint = np.minimum(_saw(y / high) * high, _saw(x / wide + 0.5 * (row % 2)) * wide)
    tint = np.random.default_rng(rng.integers(2**31)).uniform(0.85, 1.12, (64, 64))
    shade = tint[row.astype(int) % 64, np.floor(x / wide + 0.5 * (row % 2)).astype(int) % 64]
    image = _mix(wall * 0.72 + 0.1, wall * shade[..., None], _soft(joint - 0.006, 0.7 / size))
    return _mix(image, ground * (0.85 + 0.06 * _noise(rng, size, 20))[..., None], _soft(y - floor + 0.1, 0.5 / size))


def _city(rng, x, y, wall, ground, floor):
    size = len(x)
    image = _mix(wall * 1.15, np.ones(3) * 0.95, 0.7 * y)
    left = -0.05
    while left < 1:
        wide, top = rng.uniform(0.1, 0.24), rng.uniform(0.05, 0.5)
        front = ground * rng.uniform(0.55, 1.1)
        image = _mix(image, front, _box(x, y, left, top, wide, 1 - top, size))
        pitch = rng.uniform(0.035, 0.06)
        panes = np.minimum(_saw((x - left) / pitch) * pitch, _saw((y - top) / pitch) * pitch) - 0.22 * pitch
        inside = _box(x, y, left + 0.015, top + 0.02, wide - 0.03, 1, size)
        image = _mix(
            image,
            np.array(colorsys.hsv_to_rgb(0.13, rng.uniform(0, 0.4), 0.85)),
            inside * _soft(panes, 0.7 / size) * 0.7,
        )
        left += wide + rng.uniform(0.0, 0.04)
    return _mix(image, np.ones(3) * rng.uniform(0.35, 0.6), _soft(y - floor + 0.1, 0.5 / size))


_PAINTERS = {
    "gradient": _gradient,
    "clouds": _clouds,
    "room": _room,
    "landscape": _landscape,
    "bricks": _bricks,
    "city": _city,
}


def _quiet_colour(rng, preset, identity):
    """A muted colour at some distance from the clothes and skin; the farthest of a few draws."""
    worn = np.array([identity.top, identity.bottom, identity.skin])
    draws = 6 if preset == "easy" else 3
    hsv = rng.uniform((0, 0.03, 0.3), (1, 0.4, 0.95), (draws, 3))
    colours = np.array([colorsys.hsv_to_rgb(*one) for one in hsv])
    gaps = np.abs(worn[:, None] - colours).mean(-1).min(0)
    return colours[gaps.argmax()]


def _mix(below, above, amount):
    return below + np.asarray(amount)[..., None] * (above - below)


def _soft(distance, width):
    """0 where distance is below -width, 1 above width: an antialiased edge at 0."""
    return np.clip(0.5 + 0.5 * distance / width, 0, 1)


def _box(x, y, left, top, wide, high, size):
    inside = np.minimum(np.minimum(x - left, left + wide - x), np.minimum(y - top, top + high - y))
    return _soft(inside, 0.5 / size)


def _saw(x):
    """Distance to the nearest integer."""
    return np.abs(x - np.round(x))


def _noise(rng, size: int, cells: int):
    """Smooth noise of about unit range with `cells` cells along a side; finer than the pixels, it averages out."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    method = cv2.INTER_CUBIC if size >= cells else cv2.INTER_AREA
    return cv2.resize(grid, (size, size), interpolation=method).astype(np.float64)
