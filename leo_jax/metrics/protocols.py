"""How videos become clips and clips become I3D's input: every choice that moves FVD, under a name.

Papers' numbers differ by 1 to 900 points for want of these; docs/evaluation.md tells where each comes from.
"""

import dataclasses
import math
from typing import Any

from leo_jax.models.frozen.i3d import FRAMES

REAL_CLIPS = {
    "interleaved": "each chunk of {chunk} consecutive frames gives {clips} interleaved clip(s), drawn without replacement",
    "one, random": "one clip a video at a random offset, short videos dropped, the first {count} by name",
    "one, first": "the first clip of the first {count} videos by name",
}
RESIZES = {
    "short side": "short side to 224, bilinear with half-pixel centres, centre crop",
    "stretch": "both sides to 224, bilinear with half-pixel centres",
    "stretch, TF1": "both sides to 224, bilinear with TensorFlow 1's corner-aligned grid (no half-pixel centres)",
}
ROUNDINGS = {
    "truncate": "0–255 values cut to whole numbers",
    "nearest": "0–255 values rounded to whole numbers",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to measure. Spacings are in frames of the source video.

    Attributes:
      name: one of PROTOCOLS; after an override, that name followed by what was changed.
      frames: of a clip.
      spacing: source frames from one frame of a clip to the next.
      real_clips: how clips are taken from the real side, a key of REAL_CLIPS. The other side gives the first clip of each video.
      count: clips of each side in one measurement; what there is, if less.
      trials: measurements with clips drawn anew; ± is the population standard deviation over them.
      resolution: px, both sides are cropped to a centred square and resized to it (bilinear without antialias) before
        rounding; None keeps frames as they are, and both sides must have one size.
      rounding: of resized or generated values, a key of ROUNDINGS.
      resize: from there to I3D's 224 px, a key of RESIZES.
      epsilon: of I3D's batch norm; 1e-3 is TF-Hub's, 1e-5 the PyTorch copy's.
      ddof: covariances are divided by N - ddof.
      metrics: what the protocol's authors report.
      source: where it comes from.
    """

    name: str
    frames: int
    spacing: int
    real_clips: str
    count: int
    trials: int
    resolution: int | None
    rounding: str
    resize: str
    epsilon: float
    ddof: int
    metrics: tuple[str, ...]
    source: str

    def __post_init__(self):
        for value, allowed, what in (
            (self.real_clips, REAL_CLIPS, "real_clips"),
            (self.resize, RESIZES, "resize"),
            (self.rounding, ROUNDINGS, "rounding"),
        ):
            if value not in allowed:
                raise ValueError(f"{what}={value!r} is none of {sorted(allowed)}")
        if self.frames < FRAMES:
            raise ValueError(f"frames={self.frames}: I3D needs clips of {FRAMES} or more frames")
        for what in ("spacing", "count", "trials", "resolution"):
            if getattr(self, what) is not None and getattr(self, what) < 1:
                raise ValueError(f"{what}={getattr(self, what)} must be 1 or more")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon={self.epsilon} must be above 0")
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof={self.ddof} must be 0 (divide by N) or 1 (by N - 1)")

    @property
    def span(self) -> int:
        """Source frames from a clip's first to its last, both counted."""
        return (self.frames - 1) * self.spacing + 1

    def override(self, **changes: Any) -> "Protocol":
        """The protocol with other values, and a name that says so. Raises ValueError on unknown fields."""
        kinds = {field.name: field.type for field in dataclasses.fields(self) if field.name != "name"}
        if unknown := set(changes) - set(kinds):
            raise ValueError(f"a protocol has no field {sorted(unknown)} that can be set: there are {', '.join(kinds)}")
        for key, value in changes.items():
            if not _is_a(value, kinds[key]):
                kind = getattr(kinds[key], "__name__", kinds[key])
                raise ValueError(f"{key}={value!r} must be of type {kind}, as {getattr(self, key)!r} is")
        changed = {key: value for key, value in changes.items() if value != getattr(self, key)}
        if "epsilon" in changed:
            changed["epsilon"] = float(changed["epsilon"])
        suffix = "".join(f"+{key}={value}" for key, value in changed.items())
        return dataclasses.replace(self, name=self.name + suffix, **changed)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether `value` may stand in a field of this type; whole numbers may for others, truth values for none."""
    allowed: Any = {float: (int, float), tuple[str, ...]: tuple}.get(kind, kind)
    return isinstance(value, allowed) and not isinstance(value, bool)


_DIGAN = Protocol(
    name="digan",
    frames=16,
    spacing=1,
    real_clips="interleaved",
    count=2048,
    trials=10,
    resolution=128,
    rounding="truncate",
    resize="short side",
    epsilon=1e-5,
    ddof=1,
    metrics=("fvd", "kvd"),
    source="Yu et al. 2022 (DIGAN), the authors' evaluation script; LEO reports TaichiHD under it",
)
_STYLEGANV = Protocol(
    name="styleganv-16f",
    frames=16,
    spacing=1,
    real_clips="one, random",
    count=2048,
    trials=1,
    resolution=None,
    rounding="nearest",
    resize="stretch",
    epsilon=1e-3,
    ddof=0,
    metrics=("fvd",),
    source="Skorokhodov et al. 2022 (StyleGAN-V), the authors' metrics; LEO reports FaceForensics and CelebV-HQ under it",
)
_TF = Protocol(
    name="tf-original",
    frames=16,
    spacing=1,
    real_clips="one, first",
    count=2048,
    trials=1,
    resolution=None,
    rounding="nearest",
    resize="stretch, TF1",
    epsilon=1e-3,
    ddof=1,
    metrics=("fvd",),
    source="Unterthiner et al. 2018 (FVD), the authors' reference code; it leaves the choice of clips to its user",
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _DIGAN,
        dataclasses.replace(_DIGAN, name="digan-taichi", spacing=4),
        dataclasses.replace(_DIGAN, name="digan-taichi-128f", frames=128),
        _STYLEGANV,
        dataclasses.replace(_STYLEGANV, name="styleganv-128f", frames=128),
        dataclasses.replace(_STYLEGANV, name="styleganv-128f-s8", spacing=8),
        _TF,
    )
}


def protocol(name: str, /, **changes: Any) -> Protocol:
    """The named protocol, with `changes` made. Raises ValueError for a name that is none of PROTOCOLS."""
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}: there are {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name].override(**changes)
