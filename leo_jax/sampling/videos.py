"""Videos frame by frame: codes as they are drawn, frames as they are rendered, nothing kept (SPEC §4)."""

import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from leo_jax.sampling.codes import CodeSampler, limited
from leo_jax.sampling.images import to_bytes
from leo_jax.sampling.render import Renderer, as_images

TOGETHER = 1024  # longest videos whose codes are drawn for several at once and kept until their turn comes

Image = Shaped[np.ndarray, "h w 3"]


class Moment(NamedTuple):
    """A frame in [-1, 1], (size, size, 3), and its motion code, (d,)."""

    frame: Float[np.ndarray, "h w 3"]
    code: Float[np.ndarray, " d"]


class Video(NamedTuple):
    """The image that all frames are drawn from, as bytes, and the frames, of which it is the first."""

    image: UInt8[np.ndarray, "h w 3"]
    moments: Iterator[Moment]


def render(
    renderer: Renderer, image: Image, codes: Iterable[Float[np.ndarray, "k d"]], *, first: bool = True
) -> Iterator[Moment]:
    """The frames of `codes`, drawn from `image`; `first` says that it has the pose of the first code, and so is that frame."""
    codes, shown = itertools.tee(row for part in codes for row in part)
    if first:
        if next(codes, None) is None:
            return
        yield Moment(as_images(image, renderer.animator.size)[0], next(shown))
    batches = renderer.draw(renderer.encode(image), (row[None] for row in codes))
    frames = (frame for batch in batches for frame in batch)
    yield from map(Moment, frames, shown)


def videos(
    renderer: Renderer,
    sampler: CodeSampler,
    image: Image | None = None,
    *,
    num: int = 1,
    frames: int | float | None = 64,
    steps: int = 50,
    seed: int = 0,
    first: int = 0,
    transition: bool = False,
) -> Iterator[Video]:
    """`num` videos, one after the other; each has to be read before the next.

    Args:
        renderer: the animator.
        sampler: the denoisers.
        image: what all begin with (conditional); None draws a start code and an image for each (unconditional).
        num: videos.
        frames: of each; None or infinity for one without an end.
        steps: DDIM steps of each draw.
        seed: of all; a video is a function of it and of its index.
        first: index of the first one.
        transition: go on by transitions to new start codes after each segment.

    Raises:
        FileNotFoundError, ValueError: as `CodeSampler.check`, before anything is drawn.
    """
    sampler.check(frames, start=image is not None, image=image is not None, transition=transition)
    code = None if image is None else renderer.codes(image)
    return _videos(renderer, sampler, image, code, num, frames, steps, seed, first, transition)


def _videos(
    renderer: Renderer,
    sampler: CodeSampler,
    image: Image | None,
    code: Float[np.ndarray, "1 d"] | None,
    num: int,
    frames: int | float | None,
    steps: int,
    seed: int,
    first: int,
    transition: bool,
) -> Iterator[Video]:
    together = sampler.batch_size if frames is not None and frames <= TOGETHER else 1
    for at in range(first, first + num, together):
        count = min(together, first + num - at)
        starts = None if code is None else np.repeat(code, count, 0)
        endless = sampler.pieces(starts, num=count, steps=steps, seed=seed, first=at, transition=transition)
        pieces = limited(endless, math.inf if frames is None else frames)
        if together > 1:
            pieces = iter([np.concatenate(list(pieces), 1)])
        beginning = next(pieces)
        if image is None:
            images = to_bytes(sampler.first_frames(beginning[:, 0], steps=steps, seed=seed, first=at))
        else:
            images = np.repeat(to_bytes(as_images(image, renderer.animator.size)), count, 0)
        for row in range(count):
            parts = map(operator.itemgetter(row), itertools.chain([beginning], pieces))
            yield Video(images[row], render(renderer, images[row] if image is None else image, parts))
