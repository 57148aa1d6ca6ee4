"""Motion codes from the denoisers: conditional, unconditional, and without an end (SPEC §4).

A video is made of pieces: a segment of the motion model, then segments that begin with the last code of the one before, or
a transition to a new start code and a segment from there, in turn. All that is random about a piece is drawn from
(seed, the video's index, the piece's number, what is drawn), so a video does not depend on how many others are made, on the
batch or on the devices.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from leo_jax import denoisers
from leo_jax.denoisers import Sampling, Statistics
from leo_jax.sampling import devices
from leo_jax.sampling.render import batch_for
from leo_jax.sampling.stages import Stages

SEQUENCES = {"cpu": 16, "default": 64}  # of codes at a time on a device
PURPOSE = {
    "start": 0,
    "motion": 1,
    "transition": 2,
    "first_frame": 3,
}  # part of the keys: changing it changes all videos
Codes = Float[np.ndarray, "n d"]


class CodeSampler:
    """Draws from the stages of a model. Codes in and out are the animator's: standardising happens inside.

    Attributes:
        stages: the denoisers.
        batch_size: the most sequences a device draws at a time; fewer are padded to a power of two, so that few programs
            are compiled.
    """

    def __init__(self, stages: Stages, batch_size: int | None = None) -> None:
        self.stages = stages
        self.batch_size = batch_size or SEQUENCES.get(jax.default_backend(), SEQUENCES["default"])
        self._compiled: dict[tuple[str, int, bool], Any] = {}
        self._placed: dict[str, Any] = {}

    @property
    def length(self) -> int:
        """Codes in a segment."""
        return self._motion.length

    @property
    def lmc(self) -> bool:
        """Whether the motion model follows a start code (the Linear Motion Condition)."""
        return self._motion.lmc

    @property
    def _motion(self) -> denoisers.Motion:
        denoiser = self.stages["motion"].denoiser
        assert isinstance(denoiser, denoisers.Motion)
        return denoiser

    def start_codes(self, num: int = 1, *, steps: int = 50, seed: int = 0, first: int = 0, piece: int = 0) -> Codes:
        """Start codes (num, d) of the videos first … first + num - 1, from the start-code model."""
        return self._draw("start", first + np.arange(num), piece, None, steps, seed)

    def first_frames(
        self, codes: Codes, *, steps: int = 50, seed: int = 0, first: int = 0
    ) -> Float[np.ndarray, "n h w 3"]:
        """First images of videos that begin with `codes`, in [-1, 1]."""
        if not len(codes):
            raise ValueError("no codes: first frames are drawn for one or more")
        images = self._draw("first_frame", first + np.arange(len(codes)), 0, codes, steps, seed)
        return np.clip(images, -1, 1)

    def check(self, frames: int | float | None, *, start: bool, image: bool, transition: bool) -> None:
        """Opens what a video of these properties needs.

        Args:
            frames: its length; None or infinity for one without an end.
            start: whether a start code is given.
            image: whether a first image is given, or none is needed.
            transition: whether the Transition DM is used.

        Raises:
            FileNotFoundError: a stage is missing.
            ValueError: an impossible length, or one that this motion model cannot reach.
        """
        check_frames(frames)
        lmc, length = self.lmc, self.length
        endless = frames is None or frames > length
        if not lmc and endless and not transition:
            raise ValueError(
                f"{_told(frames)} from a motion model without the Linear Motion Condition: it cannot go on from a code, so a "
                f"video has at most {length} frames, or transitions between its segments (transition=True)"
            )
        needed = []
        if lmc and (not start or (endless and transition)):
            needed.append("start")
        if endless and transition:
            needed.append("transition")
        if not image:
            needed.append("first_frame")
        for name in needed:
            self.stages[name]

    def pieces(
        self,
        start: Float[np.ndarray, "n d"] | None = None,
        *,
        num: int = 1,
        steps: int = 50,
        seed: int = 0,
        first: int = 0,
        transition: bool = False,
    ) -> Iterator[Float[np.ndarray, "n t d"]]:
        """New codes of `num` videos, piece by piece, without an end: to be read as far as wanted.

        Args:
            start: start codes (num, d); None draws them. A model without the Linear Motion Condition draws its own, and given
                ones move its sequence so that it begins there: a_i - a_1 + start (ours).
            num: videos.
            steps: DDIM steps of each draw.
            seed: of all.
            first: index of the first video.
            transition: go on by a transition to a new start code instead of from the last code.
        """
        videos = first + np.arange(num)
        draw = functools.partial(self._draw, indices=videos, steps=steps, seed=seed)
        lmc = self.lmc
        if lmc and start is None:
            start = self.start_codes(num, steps=steps, seed=seed, first=first)
        codes = draw("motion", piece=0, condition=start if lmc else None)
        if start is not None:
            codes = codes if lmc else codes - codes[:, :1] + start[:, None]
            codes[:, 0] = start  # as given, to the last bit
        yield codes
        for piece in itertools.count(1, 2 if transition else 1):
            last = codes[:, -1]
            if not transition:
                codes = draw("motion", piece=piece, condition=last)
            elif lmc:
                target = draw("start", piece=piece, condition=None)
                yield draw("transition", piece=piece, condition=np.stack([last, target], 1))[:, 1:]
                codes = draw("motion", piece=piece + 1, condition=target)
            else:
                codes = draw("motion", piece=piece + 1, condition=None)
                yield draw("transition", piece=piece, condition=np.stack([last, codes[:, 0]], 1))[:, 1:]
            yield codes[:, 1:]

    def sample(
        self,
        start: Float[np.ndarray, "n d"] | None = None,
        *,
        frames: int = 64,
        num: int = 1,
        steps: int = 50,
        seed: int = 0,
        first: int = 0,
        transition: bool = False,
    ) -> Float[np.ndarray, "n t d"]:
        """Codes (num, frames, d): see `pieces`. Raises as `check`."""
        self.check(frames, start=start is not None, image=True, transition=transition)
        endless = self.pieces(start, num=num, steps=steps, seed=seed, first=first, transition=transition)
        return np.concatenate(list(limited(endless, frames)), 1)

    def _draw(
        self,
        stage: str,
        indices: Int[np.ndarray, " n"],
        piece: int,
        condition: Float[np.ndarray, "n ..."] | None,
        steps: int,
        seed: int,
    ) -> Float[np.ndarray, "n ..."]:
        """One sample of the stage for each video, in batches of a fixed size over the devices."""
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed = {seed}: from 0 to {2**32 - 1}, as far as random keys tell seeds apart")
        trained = self.stages[stage]
        images = isinstance(trained.denoiser, denoisers.FirstFrame)
        most = min(self.batch_size, batch_for(self.stages.size)) if images else self.batch_size
        count = devices.mesh().size
        rows = count * min(most, 1 << (math.ceil(len(indices) / count) - 1).bit_length())
        run = self._program(stage, steps, condition is not None)
        if stage not in self._placed:
            self._placed[stage] = devices.replicate((trained.params, trained.statistics))
        params, statistics = self._placed[stage]
        key, parts = jax.random.key(seed), []
        for at in range(0, len(indices), rows):
            part = indices[at : at + rows]
            given = None if condition is None else devices.pad(np.asarray(condition[at : at + rows], np.float32), rows)
            drawn = run(params, statistics, key, devices.pad(part, rows).astype(np.int32), np.int32(piece), given)
            parts.append(np.asarray(drawn)[: len(part)])
        return np.concatenate(parts)

    def _program(self, stage: str, steps: int, conditional: bool) -> Any:
        """The compiled function (params, statistics, key, indices, piece, condition) → samples."""
        if (stage, steps, conditional) not in self._compiled:
            denoiser: Any = self.stages[stage].denoiser  # their `sample` takes a start code, ends, a code or nothing

            def run(
                params: Any, statistics: Statistics, key: Array, indices: Array, piece: Array, condition: Array | None
            ) -> Array:
                def own(index: Array) -> Array:
                    video = jax.random.fold_in(jax.random.fold_in(key, index), piece)
                    return jax.random.fold_in(video, PURPOSE[stage])

                given = None if condition is None else statistics.standardise(condition)
                drawn = denoiser.sample(params, jax.vmap(own)(indices), given, sampling=Sampling(steps))
                return drawn if isinstance(denoiser, denoisers.FirstFrame) else statistics.restore(drawn)

            split = (False, False, False, True, False, True)
            self._compiled[stage, steps, conditional] = devices.spread(run, split)
        return self._compiled[stage, steps, conditional]


def check_frames(frames: int | float | None) -> None:
    """Raises ValueError unless it is a whole number from 1 on, infinity or None."""
    if frames is None or frames == math.inf:
        return
    if not 1 <= frames < math.inf or frames != int(frames):
        raise ValueError(
            f"{frames:g} frames: a whole number from 1 on, or inf (None in Python) for a video without an end"
        )


def limited(
    pieces: Iterator[Float[np.ndarray, "n t d"]], frames: int | float | None
) -> Iterator[Float[np.ndarray, "n t d"]]:
    """`pieces` up to `frames` frames; nothing more is drawn than is needed."""
    left = math.inf if frames is None else frames
    while left > 0:
        piece = next(pieces)
        if piece.shape[1] > left:
            piece = piece[:, : int(left)]
        left -= piece.shape[1]
        yield piece


def _told(frames: int | float | None) -> str:
    return "a video without an end" if frames is None or frames == math.inf else f"{frames} frames"
