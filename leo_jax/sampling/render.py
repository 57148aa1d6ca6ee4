"""Codes of images and images of codes, a batch at a time: any number of frames in constant device memory."""

import functools
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from leo_jax.models.animator import Animator
from leo_jax.models.apply import apply
from leo_jax.sampling import devices

PIXELS = {"cpu": 256 * 256, "default": 16 * 256 * 256}  # of one batch: a CPU gains nothing from more


def batch_for(size: int, backend: str | None = None) -> int:
    """Frames of `size` px to draw at a time on a backend (the default one's name if none is given)."""
    pixels = PIXELS.get(backend or jax.default_backend(), PIXELS["default"])
    return int(np.clip(pixels // size**2, 1, 64))


def as_images(
    images: Shaped[np.ndarray, "*b h w 3"] | Shaped[Array, "*b h w 3"], size: int
) -> Float[np.ndarray, "b h w 3"]:
    """Images for an animator of `size` px as float32 (b, size, size, 3).

    Bytes are 0 … 255; floats have to be in [-1, 1] already. One image without a batch axis becomes a batch of one.

    Raises:
        ValueError: another shape, or floats outside of [-1, 1].

    Warns:
        UserWarning: floats of which none is below 0: images in [0, 1], most likely.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(
            f"images of shape {images.shape}: this animator takes (frames, {size}, {size}, 3), so resize or crop them "
            f"(leo_jax.video.resize does)"
        )
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 127.5 - 1
    images = images.astype(np.float32)
    lowest, highest = float(images.min(initial=0)), float(images.max(initial=0))
    if not (-1.01 <= lowest and highest <= 1.01):
        raise ValueError(
            f"float images have to be in [-1, 1], these reach from {lowest:.3g} to {highest:.3g}: pass bytes instead"
        )
    if 0 <= lowest < highest:
        warnings.warn(
            f"float images from {lowest:.3g} to {highest:.3g}: they are taken as [-1, 1], in which 0 is grey. If they are in "
            "[0, 1], pass 2 * images - 1, or bytes",
            stacklevel=4,
        )
    return images


def check_finite(codes: Float[np.ndarray, "..."], what: str) -> None:
    """Raises ValueError if NaN or infinity is among the codes."""
    if not np.isfinite(codes).all():
        raise ValueError(f"{what}: NaN or infinity is among the numbers, and codes have to be finite")


def batches(array: Shaped[np.ndarray, "n ..."], size: int) -> Iterator[tuple[Shaped[np.ndarray, "k ..."], int]]:
    """Pieces of exactly `size` rows, the last one padded by repeating its last row, and how many rows of each count."""
    for start in range(0, len(array), size):
        part = array[start : start + size]
        yield devices.pad(part, size), len(part)


def regroup(parts: Iterable[Float[np.ndarray, "k d"]], size: int) -> Iterator[Float[np.ndarray, "k d"]]:
    """The rows of `parts` in pieces of `size`, the last one shorter; no part is asked for before it is needed."""
    waiting: list[np.ndarray] = []
    count = 0
    for part in parts:
        waiting, count = [*waiting, part], count + len(part)
        if count >= size:
            rows = np.concatenate(waiting)
            whole = count // size * size
            yield from np.split(rows[:whole], whole // size)
            waiting, count = [rows[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


class Source(NamedTuple):
    """A source image, encoded, on the devices.

    Attributes:
        style: w(source), (1, s).
        code: alpha(source), (1, d).
        features: what the generator warps, by resolution.
    """

    style: Array
    code: Array
    features: dict[int, Array]


class Renderer:
    """An animator with its parameters, ready to be used frame by frame, over all devices of this process.

    Attributes:
        animator: the module.
        params: its parameters.
        batch_size: frames drawn at a time on all devices together.
    """

    def __init__(self, animator: Animator, params: Any, batch_size: int | None = None) -> None:
        self.animator = animator
        self.params = devices.replicate(params)
        self.batch_size = (batch_size or batch_for(animator.size)) * devices.mesh().size

    def _apply(self, params: Any, *inputs: Any, method: str) -> Any:
        return apply(self.animator, params, *inputs, method=method)

    @functools.cached_property
    def _encode(self) -> Any:
        def encode(params: Any, images: Array) -> Source:
            style, features = self._apply(params, images, method="encode")
            return Source(style, self._apply(params, style, method="code_of"), features)

        return jax.jit(encode)

    @functools.cached_property
    def _codes(self) -> Any:
        def codes(params: Any, images: Array) -> Array:
            return self._apply(params, images, method="codes")

        return devices.spread(codes, (False, True))

    @functools.cached_property
    def _decode(self) -> Any:
        def decode(params: Any, basis: Array, source: Source, codes: Array) -> Array:
            latent = source.style + jnp.matmul(codes, basis.T, precision="highest")
            frames = self._apply(params, latent, source.features, method="decode")
            return jnp.clip(frames.image, -1, 1)

        return devices.spread(decode, (False, False, False, True))

    @functools.cached_property
    def basis(self) -> Float[Array, "s d"]:
        """The orthonormal motion directions, computed once."""
        return jax.jit(functools.partial(self._apply, method="basis"))(self.params)

    def codes(self, images: Shaped[np.ndarray, "*t h w 3"]) -> Float[np.ndarray, "t d"]:
        """Motion codes of frames: see `leo_jax.api.Model.codes`."""
        images = as_images(images, self.animator.size)
        parts = [np.asarray(self._codes(self.params, part))[:count] for part, count in batches(images, self.batch_size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.animator.code_dim), np.float32)

    def encode(self, source: Shaped[np.ndarray, "*b h w 3"]) -> Source:
        """One source image, made ready to draw from. Raises ValueError for another shape, range or number of images."""
        source = as_images(source, self.animator.size)
        if len(source) != 1:
            raise ValueError(f"{len(source)} source images: give one")
        return self._encode(self.params, source)

    def draw(self, source: Source, codes: Iterable[Float[np.ndarray, "k d"]]) -> Iterator[Float[np.ndarray, "k h w 3"]]:
        """Frames of `codes`, which come in parts of any size, a batch at a time.

        While one batch is looked at the next is already being computed, so codes are read one batch ahead.
        """
        ahead: tuple[Array, int] | None = None
        for group in regroup(codes, self.batch_size):
            frames = self._decode(self.params, self.basis, source, devices.pad(group, self.batch_size))
            if ahead is not None:
                yield np.asarray(ahead[0])[: ahead[1]]
            ahead = frames, len(group)
        if ahead is not None:
            yield np.asarray(ahead[0])[: ahead[1]]

    def frames(
        self,
        source: Shaped[np.ndarray, "*b h w 3"],
        codes: Shaped[np.ndarray, "..."],
        relative_to: Shaped[np.ndarray, "..."] | None = None,
    ) -> Iterator[Float[np.ndarray, "k h w 3"]]:
        """Draws `codes` from `source`, some frames at a time, as they are asked for: see `leo_jax.api.Model.render`."""
        codes = np.asarray(codes, np.float32)
        d = self.animator.code_dim
        encoded = self.encode(source)
        if codes.ndim != 2 or codes.shape[1] != d:
            raise ValueError(f"codes of shape {codes.shape}: (frames, {d}) are needed")
        check_finite(codes, "codes")
        if relative_to is not None:
            start = np.asarray(relative_to, np.float32).reshape(-1)
            if start.shape != (d,):
                raise ValueError(f"relative_to of shape {np.shape(relative_to)}: one code of {d} numbers is needed")
            check_finite(start, "relative_to")
            codes = codes - start[None] + np.asarray(encoded.code)
        yield from self.draw(encoded, [codes])
