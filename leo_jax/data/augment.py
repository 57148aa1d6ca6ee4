"""Random crop, flip and colour change of a pair of frames, alike for both (SPEC §1, "Augmentation").

Crop, flip and resize run on the host, on uint8, where OpenCV takes a quarter of the time of decoding the JPEG; colours are
changed on the device (`ops.colour`), by amounts that come with the batch. benchmarks/input.py shows what is left of the
decoding rate.
"""

import dataclasses
import threading
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

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


class _Scratch(threading.local):
    """A thread's memory for a mirrored frame, kept: fresh memory has to be fetched page by page from the system."""

    mirrored: Any = None


_SCRATCH = _Scratch()


def apply(
    image: UInt8[np.ndarray, "h w 3"], augmentation: Augmentation, drawn: Draw, out: UInt8[np.ndarray, "s s 3"]
) -> None:
    """Crops and mirrors a square frame, and resizes it into `out` (a place in the batch: no copy is made).

    Enlarging is bilinear, shrinking averages areas (antialiased). Raises ValueError if the frame is not square.
    """
    height, width, _ = image.shape
    if height != width:
        raise ValueError(f"frames are {height}x{width}, training wants squares: prepare them with --size")
    side = round(augmentation.crop * height)
    top, left = int(drawn.top * (height - side + 1)), int(drawn.left * (width - side + 1))
    image = image[top : top + side, left : left + side]
    # OpenCV writes to `dst` where its shape fits, and allocates where not.
    if side != len(out):
        if drawn.flip:
            image = _SCRATCH.mirrored = cv2.flip(image, 1, dst=_SCRATCH.mirrored)
        _resize(image, out)
    elif drawn.flip:
        cv2.flip(image, 1, dst=out)
    else:
        out[:] = image


def _resize(image: UInt8[np.ndarray, "r r 3"], out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Enlarges bilinearly or shrinks by averaging areas, by Intel's primitives where OpenCV has them.

    It keeps from them by default, as they differ from its own code by one level of 255. They round better (an enlarged
    picture is at most 0.5 levels off, not 0.74), and shrink 224 to 128 px in 0.4 of the time.
    """
    interpolation = cv2.INTER_AREA if len(out) < len(image) else cv2.INTER_LINEAR
    if hasattr(cv2, "ipp"):
        cv2.ipp.setUseIPP_NotExact(True)  # in this thread alone
    try:
        cv2.resize(image, out.shape[:2], dst=out, interpolation=interpolation)
    finally:
        if hasattr(cv2, "ipp"):
            cv2.ipp.setUseIPP_NotExact(False)


def resize(image: UInt8[np.ndarray, "h w 3"], out: UInt8[np.ndarray, "s s 3"]) -> None:
    """Resizes a square frame into `out` as `apply` does, and changes nothing else; raises as it does."""
    apply(image, AUGMENTATIONS["none"], Draw(0.0, 0.0, False), out)
