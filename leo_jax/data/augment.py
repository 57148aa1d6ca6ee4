"""Random crop, flip and colour change of a pair of frames, alike for both (SPEC §1, "Augmentation").

It runs on the host, on uint8: OpenCV crops, colours and resizes a 256 px frame in 0.13 ms on one core (decoding its JPEG
takes 0.27 ms), where the same as a jitted function took 1.5 ms with the resize as gathers and 6 ms as matrix products;
benchmarks/input.py shows what is left of the decoding rate. Brightness, contrast and saturation are one affine matrix on
(r, g, b); hue, which takes 0.2 ms more, is shifted in HSV in 256 steps, as the original's torchvision does on Pillow's images.
"""

import dataclasses
import threading
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

cv2.setNumThreads(0)  # the pipeline's own threads fill the cores

_LUMA = np.array([0.299, 0.587, 0.114])
# Affine maps of (r, g, b, 1), to be added up:
_IDENTITY = np.eye(3, 4)
_OFFSET = np.array([[0.0, 0, 0, 1]] * 3)
_GREY = np.pad(np.tile(_LUMA, (3, 1)), ((0, 0), (0, 1)))
_MAPS = np.stack([_IDENTITY, _OFFSET, _GREY]).reshape(3, 12)
_COLOUR = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to a pair at random.

    `crop` is the side of a random square crop over the stored frame's side; `flip` mirrors half of the pairs; `colour`
    is the strength of one operation picked of brightness, contrast, saturation and hue: factors are uniform in
    [1 - colour, 1 + colour], hue shifts by up to that part of the circle.
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


class _Scratch(threading.local):
    """A thread's memory for the steps on the way, kept: fresh memory has to be fetched page by page from the system."""

    cropped: Any = None
    coloured: Any = None
    hsv: Any = None


_SCRATCH = _Scratch()


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
    # OpenCV writes to `dst` where its shape fits, and allocates where not. Its loops are twice as quick over rows without
    # gaps between them, so that a crop to be coloured is copied first.
    if drawn.flip:
        image = _SCRATCH.cropped = cv2.flip(image, 1, dst=_SCRATCH.cropped)
    elif coloured and side != width:
        image = _SCRATCH.cropped = cv2.copyTo(image, None, dst=_SCRATCH.cropped)  # type: ignore[call-overload]  # no mask
    if coloured:
        if not resized:
            _colour(image, drawn, out)
            return
        image = _SCRATCH.coloured = _colour(image, drawn, _SCRATCH.coloured)
    if resized:
        _resize(image, out)
    else:
        out[:] = image


def _colour(image: UInt8[np.ndarray, "h w 3"], drawn: Draw, out: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The image in changed colours, in `out` where that fits."""
    if drawn.operation == "hue":
        return shift_hue(image, drawn.amount, out)
    return cv2.transform(image, colour_matrix(image, drawn.operation, drawn.amount), dst=out)


def shift_hue(image: UInt8[np.ndarray, "h w 3"], amount: float, out: Any = None) -> UInt8[np.ndarray, "h w 3"]:
    """Shifts HSV's hue, a byte, by `amount` of the circle, as torchvision does with Pillow: by uint8(255·amount), wrapped.

    The result is in `out` where that fits.
    """
    hsv = _SCRATCH.hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL, dst=_SCRATCH.hsv)
    shift = np.array([int(255 * amount) % 256, 0, 0], np.uint8)
    rows = hsv.reshape(len(hsv), -1)
    rows += np.tile(shift, image.shape[1])  # whole rows: three times as quick as every third byte
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=out)


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
    apply(image, AUGMENTATIONS["none"], Draw(0.0, 0.0, False, "none", 0.0), out)


def colour_matrix(image: UInt8[np.ndarray, "h w 3"], operation: str, amount: float) -> Float[np.ndarray, "3 4"]:
    """The affine map of (r, g, b, 1) in 0..255 that changes the image's colours by `amount`, 0 being no change.

    Brightness, contrast (about the image's mean luma) and saturation have factor 1 + amount; hue is no such map (see
    `shift_hue`). Raises ValueError for another operation.
    """
    identity, offset, grey = 1 + amount, 0.0, 0.0
    if operation == "contrast":
        red, green, blue, _ = cv2.mean(image)
        offset = -amount * (0.299 * red + 0.587 * green + 0.114 * blue)
    elif operation == "saturation":
        grey = -amount
    elif operation != "brightness":
        raise ValueError(f"unknown colour operation {operation!r}: one of {_COLOUR[:3]}")
    return (np.array([identity, offset, grey]) @ _MAPS).reshape(3, 4)
