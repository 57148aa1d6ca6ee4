"""Which clips are taken from which videos, and which of them a trial compares."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from leo_jax.metrics.protocols import Protocol


class Clip(NamedTuple):
    """Frames start, start + step, … of a video."""

    video: int
    start: int
    step: int
    frames: int

    @property
    def indices(self) -> range:
        """The frames' numbers in the video."""
        return range(self.start, self.start + self.step * self.frames, self.step)


def real_clips(lengths: Sequence[int], protocol: Protocol, stride: int = 1, seed: int = 0) -> list[Clip]:
    """Every clip that the protocol may use of the real videos; videos too short give none.

    Args:
      lengths: frames of each video, in the order of their names.
      protocol: its `real_clips`, `frames`, `spacing` and `count` are used.
      stride: source frames from one frame of these videos to the next.
      seed: of the random offsets.

    Raises:
      ValueError: the protocol's spacing is no multiple of `stride`.
    """
    step = step_of(protocol, stride, "the real videos")
    if protocol.real_clips == "interleaved":
        chunk = protocol.frames * step
        return [
            Clip(video, start + offset, step, protocol.frames)
            for video, length in enumerate(lengths)
            for start in range(0, length - chunk + 1, chunk)
            for offset in range(step)
        ]
    random = np.random.default_rng([seed, 1])
    span = (protocol.frames - 1) * step + 1
    long_enough = [(video, length) for video, length in enumerate(lengths) if length >= span][: protocol.count]
    if protocol.real_clips == "one, first":
        return [Clip(video, 0, step, protocol.frames) for video, _ in long_enough]
    return [
        Clip(video, int(random.integers(length - span + 1)), step, protocol.frames) for video, length in long_enough
    ]


def fake_clips(lengths: Sequence[int], protocol: Protocol, stride: int = 1) -> list[Clip]:
    """The first clip of each generated video that is long enough."""
    step = step_of(protocol, stride, "the generated videos")
    span = (protocol.frames - 1) * step + 1
    return [Clip(video, 0, step, protocol.frames) for video, length in enumerate(lengths) if length >= span]


def step_of(protocol: Protocol, stride: int, what: str) -> int:
    """Frames to advance in videos whose frames lie `stride` source frames apart, for the protocol's spacing."""
    if stride < 1 or protocol.spacing % stride:
        raise ValueError(
            f"{protocol.name} compares frames {protocol.spacing} source frames apart, those of {what} lie {stride} apart: "
            f"take a stride that divides {protocol.spacing}, or override the protocol's spacing"
        )
    return protocol.spacing // stride


def draws(available: int, protocol: Protocol, seed: int, side: str) -> list[Int64[np.ndarray, " n"]]:
    """For each trial the sorted numbers of the clips to compare: `count` of `available` without replacement, or all."""
    count = min(protocol.count, available)
    if count == available:
        return [np.arange(available)] * protocol.trials
    random = np.random.default_rng([seed, {"real": 2, "fake": 3}[side]])
    return [np.sort(random.choice(available, count, replace=False)) for _ in range(protocol.trials)]
