"""Random crop, flip and colour change of a pair of frames, alike for both (SPEC §1, "Augmentation").

It runs on the host, on uint8: OpenCV crops, colours and resizes a 256 px frame in 0.28 ms on one core (decoding its JPEG
takes 0.7 ms), where the same as a jitted function took 1.5 ms with the resize as gathers and 6 ms as matrix products;
benchmarks/input.py shows what is left of the decoding rate. Every colour operation is one affine matrix on (r, g, b); hue
turns the chroma about the grey axis at constant luma (YIQ), because the way through HSV costs five times as much.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float, UInt8

cv2.setNumThreads(0)  # the pipeline's own threads fill the cores

_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_CHROMA_TURN = np.linalg.inv(_TO_YIQ) @ np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ _TO_YIQ  # by 90 degrees
# Affine maps of (r, g, b, 1), to be added up:
_IDENTITY = np.eye(3, 4)
_OFFSET = np.array([[0.0, 0, 0, 1]] * 3)
_GREY = np.pad(np.tile(_LUMA, (3, 1)), ((0, 0), (0, 1)))
_QUARTER_TURN = np.pad(_CHROMA_TURN, ((0, 0), (0, 1)))
_COLOUR = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a pair at random.

    `crop` is the side of a random square crop over the stored frame's side; `flip` mirrors half of the pairs; `colour`
    is the strength of one operation picked of brightness, contrast, saturation and hue: factors are uniform in
    [1 - colour, 1 + colour], hue turns by up to that part of the circle.
    """

    crop: float = 1.0
    flip: bool = False
    colour: float = 0.0


AUGMENTATIONS = {
    "none": Augmentation(),
    "vox": Augmentation(),
    "taichi": Augmentation(crop=224 / 256, flip=True, colour=0.1),
    "ted": Augmentation(flip=True, colour=0.1),
}


@dataclasses.dataclass(frozen=True)
class Draw:
    """One outcome: the crop's place in [0, 1], whether to mirror, and the colour operation's amount."""

    top: float
    left: float
    flip: bool
    operation: str
    amount: float


def draw(augmentation: Augmentation, dice: Float[np.ndarray, "5"]) -> Draw:
    """What five numbers, uniform in [0, 1), decide."""
    top, left, flip, pick, amount = dice.tolist()
    operation = _COLOUR[int(pick * len(_COLOUR))] if augmentation.colour else "none"
    return Draw(top, left, bool(augmentation.flip and flip < 0.5), operation, augmentation.colour * (2 * amount - 1))


def apply(
    image: UInt8[np.ndarray, "h w 3"], augmentation: Augmentation, drawn: Draw, out: UInt8[np.ndarray, "s s 3"]
) -> None:
    """Crops, mirrors and colours a square frame, then resizes it into `out` (a place in the batch: no copy is made).

    Enlarging is bilinear, shrinking averages areas (antialiased). Raises ValueError if the frame is not square.
    """
    height, width, _ = image.shape
    if height != width:
        raise ValueError(f"frames are {height}x{width}, training wants squares: prepare them with --size")
    side = round(augmentation.crop * height)
    top, left = int(drawn.top * (height - side + 1)), int(drawn.left * (width - side + 1))
    image = image[top : top + side, left : left + side]
    resized, coloured = side != len(out), drawn.operation != "none"
    if drawn.flip:
        image = cv2.flip(image, 1)
    if coloured:
        matrix = colour_matrix(image, drawn.operation, drawn.amount)
        image = cv2.transform(image, matrix, dst=None if resized else out)
    if resized:
        interpolation = cv2.INTER_AREA if len(out) < side else cv2.INTER_LINEAR
        cv2.resize(image, out.shape[:2], dst=out, interpolation=interpolation)
    elif not coloured:
        out[:] = image


def resize(image: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Resizes a square frame into `out` as `apply` does, and changes nothing else; raises as it does."""
    apply(image, AUGMENTATIONS["none"], Draw(0.0, 0.0, False, "none", 0.0), out)


def colour_matrix(image: UInt8[np.ndarray, "h w 3"], operation: str, amount: float) -> Float[np.ndarray, "3 4"]:
    """The affine map of (r, g, b, 1) in 0..255 that changes the image's colours by `amount`, 0 being no change.

    Brightness, contrast (about the image's mean luma) and saturation have factor 1 + amount; hue turns by `amount` of
    the circle.
    """
    if operation == "brightness":
        return (1 + amount) * _IDENTITY
    if operation == "contrast":
        red, green, blue, _ = cv2.mean(image)
        mean = 0.299 * red + 0.587 * green + 0.114 * blue
        return (1 + amount) * _IDENTITY - (amount * mean) * _OFFSET
    if operation == "saturation":
        return (1 + amount) * _IDENTITY - amount * _GREY
    if operation == "hue":
        angle = 2 * math.pi * amount
        return _GREY + math.cos(angle) * (_IDENTITY - _GREY) + math.sin(angle) * _QUARTER_TURN
    raise ValueError(f"unknown colour operation {operation!r}: one of {_COLOUR}")
