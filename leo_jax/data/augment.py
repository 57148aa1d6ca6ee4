"""Random crop, flip and colour change of a pair of frames, alike for both (SPEC §1, "Augmentation").

The host decodes and flips. What would take it long beside decoding is done on the device, by numbers that come with the
batch: the crop's resize (`ops.crop`) and the change of colours (`ops.colour`). benchmarks/input.py shows what is left of the
decoding rate.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from leo_jax.data import records

cv2.setNumThreads(0)  # the pipeline's own threads fill the cores

CHANGES = ("brightness", "contrast", "saturation", "hue")  # the amounts that `ops.colour.change` takes, in its order


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a pair at random.

    `crop` is the side of a random square crop over the stored frame's side; `flip` mirrors half of the pairs; `colour`
    is the strength of one change picked of CHANGES: its amount is uniform in [-colour, colour].
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
    """One outcome: the crop's place in [0, 1], whether to mirror, and the amount of each of CHANGES."""

    top: float
    left: float
    flip: bool
    amounts: tuple[float, ...] = (0.0,) * len(CHANGES)


def draw(augmentation: Augmentation, dice: Float[np.ndarray, "5"]) -> Draw:
    """What five numbers, uniform in [0, 1), decide."""
    top, left, flip, pick, amount = dice.tolist()
    amounts = [0.0] * len(CHANGES)
    amounts[int(pick * len(CHANGES))] = augmentation.colour * (2 * amount - 1)
    return Draw(top, left, bool(augmentation.flip and flip < 0.5), tuple(amounts))


def square(augmentation: Augmentation, drawn: Draw, stored: int) -> tuple[int, int, int]:
    """Top, left and side of the crop of a frame of `stored` pixels' side, every place being as likely."""
    side = round(augmentation.crop * stored)
    return int(drawn.top * (stored - side + 1)), int(drawn.left * (stored - side + 1)), side


def flip(image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Mirrors a frame left to right where it lies."""
    cv2.flip(image, 1, dst=image)


def decode(encoded: bytes, out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Decodes a stored frame into `out`: straight into its memory if it has that size, else as `resize` does it."""
    image = records.decode_frame(encoded, out)
    there = np.may_share_memory(image, out)
    if not (there and image.shape == out.shape):
        resize(image.copy() if there else image, out)


def resize(image: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Resizes a square frame into `out`; one of its size is copied.

    Enlarging is bilinear, shrinking averages areas (antialiased). Both are by Intel's primitives where OpenCV has them: it
    keeps from them by default, as they differ from its own code by one level of 255. They round better (an enlarged
    picture is at most 0.5 levels off, not 0.74), and shrink 224 to 128 px in 0.4 of the time.

    Raises ValueError if the frame is not square.
    """
    height, width, _ = image.shape
    if height != width:
        raise ValueError(f"frames are {height}x{width}, training wants squares: prepare them with --size")
    if height == len(out):
        out[:] = image
        return
    interpolation = cv2.INTER_AREA if len(out) < height else cv2.INTER_LINEAR
    if hasattr(cv2, "ipp"):
        cv2.ipp.setUseIPP_NotExact(True)  # in this thread alone
    try:
        cv2.resize(image, out.shape[:2], dst=out, interpolation=interpolation)
    finally:
        if hasattr(cv2, "ipp"):
            cv2.ipp.setUseIPP_NotExact(False)
