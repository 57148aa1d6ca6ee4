"""Which range float frames are in: stated, or seen from the values where that leaves no doubt, never guessed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from leo_jax.video import BadVideo

RANGES = {"0,255": (0.0, 255.0), "0,1": (0.0, 1.0), "-1,1": (-1.0, 1.0)}
STATE = (
    f"state one of {', '.join(RANGES)} by --real_range or --fake_range (of a study --a_range, --b_range); what lies outside is "
    "clamped then"
)
SLACK = 1e-3  # of the range's width: rounding of a network's last layer, or of a codec


@dataclasses.dataclass(frozen=True, eq=False)
class FloatFrames:
    """Reader of a float array's frames; `scale` = (low, high) of its values becomes 0–255."""

    name: str
    load: Callable[[], np.ndarray]
    scale: tuple[float, float] = (0.0, 255.0)

    def __call__(self, indices: Sequence[int]) -> Float[np.ndarray, "t h w 3"]:
        low, high = self.scale
        return (self.load()[list(indices)].astype(np.float32) - low) * (255 / (high - low))

    def scaled(self, scale: tuple[float, float]) -> "FloatFrames":
        """The same for values in another range."""
        return dataclasses.replace(self, scale=scale)

    def extremes(self) -> tuple[float, float]:
        """Least and greatest value. Raises BadVideo on NaN or infinity."""
        array = self.load()
        low, high = float(np.min(array)), float(np.max(array))
        if not np.isfinite([low, high]).all():
            raise BadVideo(self.name, "holds NaN or infinity")
        return low, high


def decide(
    extremes: Mapping[str, tuple[float, float]], stated: str | None, where: str
) -> tuple[tuple[float, float], str]:
    """The range of a set's float videos, whose names have least and greatest values, and what a result says of it.

    Raises:
      ValueError: `stated` is unknown, or not that of the values; or values fit no range, or more than one, or not all the same.
    """
    if stated is not None and stated not in RANGES:
        raise ValueError(f"value range {stated!r} is none of {', '.join(RANGES)}")
    if not extremes:
        if stated not in (None, "0,255"):
            raise ValueError(
                f"{where}: a range of {stated} is stated, and there are no float arrays: its values are 0 to 255"
            )
        return RANGES["0,255"], "0–255 (uint8)"
    low, high = min(e[0] for e in extremes.values()), max(e[1] for e in extremes.values())
    seen = f"values from {low:.4g} to {high:.4g}"
    if stated is not None:
        _check_stated(extremes, stated, where)
        return RANGES[stated], f"{stated} (stated; {seen})"
    # Values a little below 0 may as well be [0, 1] overshot by a network or a resize, so that -1,1 wants clear ones. All
    # videos of a set in [0, 1] could only be [-1, 1] if no pixel of any were darker than mid-grey.
    if low < -0.5 and _fits(low, high, "-1,1"):
        found = "-1,1"
    elif high > 2 and _fits(low, high, "0,255"):
        found = "0,255"
    elif 0.5 < high and low < 0.5 and _fits(low, high, "0,1"):
        found = "0,1"
    else:
        raise ValueError(f"{where}: {seen} of its {len(extremes)} float videos do not tell their range: {STATE}")
    odd = [name for name, e in extremes.items() if found != "0,1" and 0 < e[1] and _fits(*e, "0,1")]
    if odd and found == "0,255":
        raise ValueError(
            f"{where}: {seen} are 0,255, and those of {odd[0]} alone look like 0,1: bring all to one range, or {STATE}"
        )
    # Bright videos in [-1, 1] have no values below 0: that is likelier than two ranges, but said.
    told = f"; {len(odd)} without values below 0, such as {odd[0]}, taken for bright" if odd else ""
    return RANGES[found], f"{found} (seen from {seen}{told})"


def _check_stated(extremes: Mapping[str, tuple[float, float]], stated: str, where: str) -> None:
    """Raises ValueError where values leave the stated range by half its width or more: that is no overshoot."""
    first, last = RANGES[stated]
    width = last - first
    for name, (low, high) in extremes.items():
        if low <= first - width / 2 or high >= last + width / 2:
            raise ValueError(
                f"{where}: a range of {stated} is stated, and {name} has values from {low:.4g} to {high:.4g}: state another one"
            )


def _fits(low: float, high: float, name: str) -> bool:
    first, last = RANGES[name]
    slack = SLACK * (last - first)
    return first - slack <= low and high <= last + slack
