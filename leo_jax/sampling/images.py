"""Photos as the animator takes them, and its images as bytes."""

import pathlib

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Float, UInt8

from leo_jax import files, video


def read_photo(path: files.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """An image file as RGB bytes, turned upright as its EXIF says, transparency on white.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no image that can be read, or one of floating-point numbers, whose range nobody knows.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"no image at {path}")
    try:
        with PIL.Image.open(path) as file:
            image = PIL.ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut off at 255
                grey = np.clip(np.round(np.asarray(image) / 257), 0, 255)
                image = PIL.Image.fromarray(grey.astype(np.uint8))
            elif image.mode == "F":
                raise ValueError(f"{path} holds floating-point numbers: save it with 8 or 16 bits")
            return video.on_white(image)
    except (PIL.UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def centre_square(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r r 3"]:
    """The largest square around the middle."""
    h, w, _ = image.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return image[top : top + side, left : left + side]


def to_square(image: UInt8[np.ndarray, "h w 3"], size: int, *, crop: bool) -> UInt8[np.ndarray, "r r 3"]:
    """An image as the animator takes it: its centre square (`crop`), or all of it squeezed into a square."""
    return video.resize(centre_square(image) if crop else image, size, size)


def to_bytes(images: Float[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Images in [-1, 1] as bytes, rounded."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def output_shape(photo: UInt8[np.ndarray, "h w 3"], size: int, *, crop: bool) -> tuple[int, int]:
    """(height, width) of the video: the photo's proportions, its shorter side `size`, both even."""
    if crop:
        return size, size
    h, w, _ = photo.shape
    scale = size / min(h, w)
    return 2 * round(h * scale / 2), 2 * round(w * scale / 2)


def check_kept(out: files.PathLike, *inputs: files.PathLike) -> None:
    """Raises ValueError where writing `out` would overwrite one of the inputs."""
    for path in map(pathlib.Path, inputs):
        if path.exists() and pathlib.Path(out).exists() and path.samefile(out):
            raise ValueError(f"--out {out} is the input {path}, which would be overwritten: give another name")
