"""Who a puppet is: proportions, face, hair and clothes, drawn at random and readable as one vector of named numbers."""

import colorsys
import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from leo_jax.data.puppets.skeleton import Proportions

Colour = tuple[float, float, float]

HAIR = ("bald", "short", "parted", "bob", "long", "bun", "afro", "ponytail")
HATS = ("none", "cap", "beanie", "straw")
PATTERNS = ("plain", "rings", "lengthwise", "checks", "fade")
BOTTOMS = ("trousers", "shorts", "skirt", "robe")

_SKIN = ((0.99, 0.86, 0.76), (0.94, 0.76, 0.62), (0.82, 0.61, 0.45), (0.63, 0.43, 0.30), (0.42, 0.27, 0.19))
_HAIR = (
    *((0.09, 0.07, 0.07), (0.20, 0.13, 0.09), (0.38, 0.24, 0.13), (0.56, 0.28, 0.12)),
    *((0.83, 0.66, 0.36), (0.62, 0.61, 0.60), (0.88, 0.87, 0.84)),
)
_EYES = ((0.25, 0.14, 0.07), (0.16, 0.36, 0.52), (0.22, 0.38, 0.20), (0.10, 0.08, 0.08))


@dataclass(frozen=True)
class Identity:
    """What stays the same in a video. Lengths in standing heights, colours sRGB in 0..1, kinds as indices."""

    height: float  # of the standing body, in frame heights
    head: float
    head_width: float  # of the head's height
    shoulder: float
    hip: float
    legs: float  # height of the hips
    arms: float
    girth: float  # of limbs, 1 = average
    belly: float  # depth and width added at the waist
    skin: Colour
    hair: Colour
    hair_kind: int  # HAIR
    hat: int  # HATS
    hat_colour: Colour
    eye: Colour
    eye_size: float
    eye_spacing: float
    brow: float
    mouth_width: float
    smile: float
    nose: float
    beard: float  # 0 none, 1 full
    glasses: float  # 0 none, 1 worn
    top: Colour
    top_second: Colour
    top_pattern: int  # PATTERNS
    top_period: float
    sleeve: float  # share of the arm that is covered
    hem: float  # where the top ends, in torso lengths above the hips
    jacket: float  # 1: a front opening shows the second colour
    bottom: Colour
    bottom_second: Colour
    bottom_pattern: int  # PATTERNS
    bottom_period: float
    bottom_kind: int  # BOTTOMS
    bottom_length: float  # share of the leg that is covered
    flare: float  # how much wider than the leg
    belt: Colour
    shoe: Colour

    def vector(self) -> Float[np.ndarray, " s"]:
        """The identity as numbers, in the order of IDENTITY_FIELDS."""
        return np.array(
            [x for f in dataclasses.fields(self) for x in np.atleast_1d(np.asarray(getattr(self, f.name), np.float32))],
            np.float32,
        )

    def proportions(self) -> Proportions:
        """Bone lengths; feet, ankles and neck follow from the rest."""
        ankle, neck = 0.042, 0.030
        leg = self.legs - ankle
        return Proportions(
            head=self.head,
            neck=neck,
            torso=1 - self.legs - neck - self.head,
            shoulder=self.shoulder,
            hip=self.hip,
            upper_arm=0.53 * self.arms,
            forearm=0.47 * self.arms,
            thigh=0.51 * leg,
            shin=0.49 * leg,
            ankle=ankle,
            foot=0.105,
        )


IDENTITY_FIELDS = tuple(
    name
    for field in dataclasses.fields(Identity)
    for name in ([f"{field.name}_{c}" for c in ("red", "green", "blue")] if field.type is Colour else [field.name])
)


def draw(rng: np.random.Generator, preset: str) -> Identity:
    """A random person; 'easy' ones wear clear colours and large patterns, no jacket, glasses or robe."""
    full = preset == "full"
    hue = rng.random()
    other = (hue + rng.uniform(0.3, 0.7)) % 1
    vivid = (0.55, 0.95) if not full else (0.05, 0.95)
    top = _hsv(hue, rng.uniform(*vivid), rng.uniform(0.55, 0.98))
    bottom = _hsv(other, rng.uniform(0.3, 0.8) if not full else rng.uniform(0, 0.7), rng.uniform(0.22, 0.6))
    top_second = _hsv((hue + rng.uniform(0.1, 0.5)) % 1, rng.uniform(0.0, 0.6), 1.35 - max(top) + 0.1)
    kind = rng.choice(4, p=(0.6, 0.2, 0.14, 0.06) if full else (0.7, 0.2, 0.1, 0.0))
    skirted = BOTTOMS[kind] in ("skirt", "robe")
    length = {"trousers": (0.9, 1.0), "shorts": (0.35, 0.55), "skirt": (0.3, 0.6), "robe": (0.6, 0.85)}[BOTTOMS[kind]]
    skin = _blend(_SKIN, rng.random())
    slim = rng.random()
    return Identity(
        height=rng.uniform(0.77, 0.84),
        head=rng.uniform(0.158, 0.188),
        head_width=rng.uniform(0.72, 0.84),
        shoulder=rng.uniform(0.098, 0.128) if slim < 0.6 else rng.uniform(0.112, 0.138),
        hip=rng.uniform(0.046, 0.062),
        legs=rng.uniform(0.475, 0.515),
        arms=rng.uniform(0.325, 0.36),
        girth=rng.uniform(0.84, 1.05) if slim < 0.7 else rng.uniform(1.05, 1.3),
        belly=rng.uniform(-0.008, 0.01) if slim < 0.7 else rng.uniform(0.0, 0.035),
        skin=skin,
        hair=_HAIR[rng.choice(len(_HAIR), p=(0.24, 0.22, 0.18, 0.1, 0.14, 0.07, 0.05))],
        hair_kind=int(rng.choice(len(HAIR), p=(0.06, 0.24, 0.14, 0.14, 0.16, 0.1, 0.06, 0.1))),
        hat=int(rng.choice(len(HATS), p=(0.7, 0.12, 0.1, 0.08))),
        hat_colour=_hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.95)),
        eye=_EYES[rng.integers(len(_EYES))],
        eye_size=rng.uniform(0.85, 1.2),
        eye_spacing=rng.uniform(0.9, 1.12),
        brow=rng.uniform(0.3, 1.0),
        mouth_width=rng.uniform(0.75, 1.25),
        smile=rng.uniform(-0.3, 1.0),
        nose=rng.uniform(0.7, 1.3),
        beard=float(rng.random() < 0.2),
        glasses=float(full and rng.random() < 0.2),
        top=top,
        top_second=top_second,
        top_pattern=int(rng.choice(5, p=(0.36, 0.24, 0.14, 0.16, 0.1) if full else (0.55, 0.25, 0.1, 0.0, 0.1))),
        top_period=rng.uniform(0.045, 0.1) if full else rng.uniform(0.08, 0.13),
        sleeve=float(rng.choice((0.0, rng.uniform(0.2, 0.35), rng.uniform(0.5, 0.7), 1.0), p=(0.1, 0.36, 0.12, 0.42))),
        hem=rng.uniform(-0.12, 0.12),
        jacket=float(full and rng.random() < 0.25),
        bottom=bottom,
        bottom_second=_hsv(other, 0.3, min(1.0, max(bottom) + 0.3)),
        bottom_pattern=int(rng.choice(5, p=(0.7, 0.06, 0.1, 0.1, 0.04) if full else (0.9, 0.0, 0.0, 0.0, 0.1))),
        bottom_period=rng.uniform(0.05, 0.1),
        bottom_kind=int(kind),
        bottom_length=rng.uniform(*length),
        flare=rng.uniform(1.02, 1.4) if not skirted else rng.uniform(1.0, 1.6),
        belt=_hsv(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.5)),
        shoe=_hsv(rng.random(), rng.uniform(0.0, 0.8), rng.uniform(0.08, 0.95)),
    )


def _hsv(hue, saturation, value) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return float(red), float(green), float(blue)


def _blend(palette, where) -> Colour:
    place = where * (len(palette) - 1)
    red, green, blue = (float(np.interp(place, np.arange(len(palette)), part)) for part in zip(*palette, strict=True))
    return red, green, blue
