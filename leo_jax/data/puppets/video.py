"""One puppet video from (seed, index)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from leo_jax.data.puppets import appearance, background, figure, motion
from leo_jax.data.puppets.motion import STYLES
from leo_jax.data.puppets.shapes import Canvas
from leo_jax.data.puppets.skeleton import Camera, pose

HELD_OUT = 1 << 30  # indices from here on are never used for training
SMALLEST, LARGEST = 16, 1024
_BATCH_PIXELS = 1 << 17  # frames are painted in batches about this large, which stay in the cache


@dataclass(frozen=True)
class Preset:
    """How hard the videos are: probabilities of STYLES, range of the poses' vigour, whether feet cast a shadow."""

    styles: Mapping[str, float]
    vigour: tuple[float, float]
    shadow: bool


PRESETS: Mapping[str, Preset] = {
    "easy": Preset({"gestures": 0.4, "walking": 0.15, "martial": 0.2, "dancing": 0.25}, (0.75, 0.9), False),
    "full": Preset({"gestures": 0.3, "walking": 0.2, "martial": 0.25, "dancing": 0.25}, (0.85, 1.05), True),
}


@dataclass(frozen=True)
class PuppetVideo:
    """Frames and their ground truth; joints in 0..1 of the frame, x to the right and y down."""

    frames: UInt8[np.ndarray, "t h w 3"]
    silhouette: Bool[np.ndarray, "t h w"]
    joints: Float[np.ndarray, "t j 2"]
    visibility: Bool[np.ndarray, "t j"]
    identity: Float[np.ndarray, " s"]
    motion: Float[np.ndarray, "t a"]
    style: str
    fps: float


def render(
    seed: int, index: int, *, frames: int, size: int, preset: str, motion_index: int | None = None
) -> PuppetVideo:
    """Draws video `index`; the same arguments give the same bytes, and fewer frames give the beginning of it.

    `motion_index` lets the person of `index`, in its surroundings, move as the one of another index does.
    Raises: ValueError for a negative seed or index, fewer than 1 frame, a size outside 16..1024 or an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"puppet preset {preset!r} is unknown: choose one of {', '.join(PRESETS)}")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"puppets of size {size} cannot be drawn: choose from {SMALLEST} to {LARGEST}")
    if frames < 1 or seed < 0 or index < 0:
        raise ValueError(f"seed {seed}, index {index} and frames {frames}: seed and index start at 0, frames at 1")
    choice = PRESETS[preset]
    moves = np.random.default_rng((seed, index if motion_index is None else motion_index, 1))
    who = appearance.draw(np.random.default_rng((seed, index, 0)), preset)
    place = np.random.default_rng((seed, index, 2))
    camera = Camera(scale=who.height, centre=place.uniform(0.47, 0.53), floor=place.uniform(0.925, 0.955))
    scene = background.draw(place, preset, size, camera.floor, who)

    style = str(moves.choice(STYLES, p=[choice.styles[name] for name in STYLES]))
    fps = motion.FPS[style]
    controls = motion.controls(moves, style, np.arange(frames) / fps, moves.uniform(*choice.vigour))
    posed = pose(controls, who.proportions())
    joints = camera.project(posed.joints)

    parts = []
    batch = max(1, _BATCH_PIXELS // size**2)
    for start in range(0, frames, batch):
        part = posed.part(slice(start, start + batch))
        canvas = Canvas(scene, len(part.joints))
        figure.paint(canvas, who, part, camera, choice.shadow)
        seen = figure.visibility(canvas, joints[start : start + batch] * size, part)
        rgb = (np.clip(canvas.pixels[..., :3], 0, 1) * 255 + 0.5).astype(np.uint8)
        parts.append((rgb, canvas.pixels[..., 3] > 0.5, seen))
    rgb, silhouette, visibility = (np.concatenate(items) for items in zip(*parts, strict=True))
    return PuppetVideo(
        frames=rgb,
        silhouette=silhouette,
        joints=joints.astype(np.float32),
        visibility=visibility,
        identity=who.vector(),
        motion=np.concatenate([controls, posed.hinges], -1).astype(np.float32),
        style=style,
        fps=fps,
    )
