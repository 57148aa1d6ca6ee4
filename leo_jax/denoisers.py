"""The four denoisers of LEO (SPEC §3): what each one noises, what it is shown clean, and how it is sampled.

Codes are standardised here, in and out (`Statistics` does it): motion and residuals are formed after that. A denoiser is a
record of a network, a schedule and how it is walked; parameters are arguments. `loss(params, batch, key)` gives one number a
sample, whose draws are its own if there is a key for each; `sample(params, keys, condition)` one sample a key, a function of that
key and its condition alone.

Three fields of all are ours, and change nothing by default. `prediction` is what the network is trained to give, the "noise" or
the "velocity": at the first steps, where noise is all, a network that misses the noise by a tenth puts x_0 ten off, one that
misses the velocity by a tenth a tenth. `eta` is DDIM's: the noise that each step adds. `bound` keeps the x_0 that is predicted
on the way, pixels or standardised codes, in [-bound, bound], or as far out as the code that it starts from.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from leo_jax import diffusion, files, weights
from leo_jax.models.apply import apply
from leo_jax.models.code_mlp import CodeMLP
from leo_jax.models.unet import UNet

UNFINISHED_FILE = "denoiser.json"  # what model.json will say, of a denoiser that is still in training
PyTree = Any
Batch = Mapping[str, Array]


class Statistics(NamedTuple):
    """Mean and standard deviation of each dimension of the training set's codes (SPEC §2)."""

    mean: Float[Array, " d"]
    std: Float[Array, " d"]

    def standardise(self, codes: Float[Array, "... d"]) -> Float[Array, "... d"]:
        """Codes of the animator → codes of mean 0 and deviation 1."""
        ones = (1,) * (codes.ndim - 1)
        return (codes - self.mean.reshape(*ones, -1)) / self.std.reshape(*ones, -1)

    def restore(self, codes: Float[Array, "... d"]) -> Float[Array, "... d"]:
        """The inverse of `standardise`."""
        ones = (1,) * (codes.ndim - 1)
        return codes * self.std.reshape(*ones, -1) + self.mean.reshape(*ones, -1)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a denoiser is walked: see `diffusion.sample`. None takes the denoiser's own `eta` or `bound`."""

    steps: int = 50
    sampler: str = "ddim"
    eta: float | None = None
    bound: float | None = None


@dataclasses.dataclass(frozen=True)
class Motion:
    """cLMDM: the codes that follow alpha_1 (paper eqs. 2-4). Batch {'codes': (b, length, d)}.

    With the Linear Motion Condition, noise goes on m = a - alpha_1 alone; the network sees [alpha_1, alpha_1 + m_t] over time and
    answers for the positions after the first. Without (the paper's ablation), all codes are noised and nothing is given.
    """

    module: UNet
    schedule: str = "linear"
    length: int = 64
    lmc: bool = True
    prediction: str = "noise"
    eta: float = 0.0
    bound: float = 0.0
    stage: ClassVar[str] = "motion"

    def _predict(self, params: PyTree, start: Float[Array, "b 1 d"]) -> diffusion.Denoise:
        def predict(m: Array, t: Array) -> Array:
            return apply(self.module, params, jnp.concatenate([start, start + m], 1), t)[:, 1:]

        return predict

    def loss(self, params: PyTree, batch: Batch, key: jax.Array) -> Float[Array, " b"]:
        """Mean squared error of the prediction over the noised positions."""
        codes = batch["codes"]
        if not self.lmc:
            return _loss(self, lambda x, t: apply(self.module, params, x, t), codes, key)
        start = codes[:, :1]
        return _loss(self, self._predict(params, start), codes[:, 1:] - start, key)

    def sample(
        self,
        params: PyTree,
        keys: diffusion.Keys,
        start: Float[Array, "b d"] | None = None,
        sampling: Sampling = Sampling(),
    ) -> Float[Array, "b n d"]:
        """Codes [alpha_1, alpha_1 + m_0]; without the condition, codes from noise alone.

        Raises ValueError if `start` is missing with the condition, or given without it.
        """
        if (start is None) == self.lmc:
            raise ValueError(f"a motion model with lmc={self.lmc} takes {'a' if self.lmc else 'no'} start code")
        d = self.module.out_channels
        if start is None:
            predict = lambda x, t: apply(self.module, params, x, t)
            return _sample(self, predict, keys, (self.length, d), sampling)
        start = start[:, None]
        m = _sample(self, self._predict(params, start), keys, (self.length - 1, d), sampling, start)
        return jnp.concatenate([start, start + m], 1)


@dataclasses.dataclass(frozen=True)
class Start:
    """The start-code model p(alpha), frame by frame. Batch {'codes': (b, d)}."""

    module: CodeMLP
    schedule: str = "linear"
    code_dim: int = 20
    prediction: str = "noise"
    eta: float = 0.0
    bound: float = 0.0
    stage: ClassVar[str] = "start"

    def loss(self, params: PyTree, batch: Batch, key: jax.Array) -> Float[Array, " b"]:
        """Mean squared error of the prediction."""
        return _loss(self, lambda x, t: apply(self.module, params, x, t), batch["codes"], key)

    def sample(
        self, params: PyTree, keys: diffusion.Keys, condition: None = None, sampling: Sampling = Sampling()
    ) -> Float[Array, "b d"]:
        """Start codes."""
        predict = lambda x, t: apply(self.module, params, x, t)
        return _sample(self, predict, keys, (self.code_dim,), sampling)


@dataclasses.dataclass(frozen=True)
class Transition:
    """Bridges the last code of one segment and the first of the next. Batch {'codes': (b, length, d)}, real windows.

    Noise goes on the residuals to the first code, between the ends; as in the motion model the network sees codes, the first
    one added back (ours: SPEC §3 leaves the form open), with both ends clean.
    """

    module: UNet
    schedule: str = "linear"
    length: int = 32
    prediction: str = "noise"
    eta: float = 0.0
    bound: float = 0.0
    stage: ClassVar[str] = "transition"

    def _predict(self, params: PyTree, ends: Float[Array, "b 2 d"]) -> diffusion.Denoise:
        first, last = ends[:, :1], ends[:, 1:]

        def predict(r: Array, t: Array) -> Array:
            return apply(self.module, params, jnp.concatenate([first, first + r, last], 1), t)[:, 1:-1]

        return predict

    def loss(self, params: PyTree, batch: Batch, key: jax.Array) -> Float[Array, " b"]:
        """Mean squared error of the prediction over the positions between the ends."""
        codes = batch["codes"]
        ends = jnp.stack([codes[:, 0], codes[:, -1]], 1)
        return _loss(self, self._predict(params, ends), codes[:, 1:-1] - codes[:, :1], key)

    def sample(
        self, params: PyTree, keys: diffusion.Keys, ends: Float[Array, "b 2 d"], sampling: Sampling = Sampling()
    ) -> Float[Array, "b n d"]:
        """Codes from ends[:, 0] to ends[:, 1], both included."""
        shape = (self.length - 2, self.module.out_channels)
        r = _sample(self, self._predict(params, ends), keys, shape, sampling, ends[:, :1])
        return jnp.concatenate([ends[:, :1], ends[:, :1] + r, ends[:, 1:]], 1)


@dataclasses.dataclass(frozen=True)
class FirstFrame:
    """cDDPM p(x_1 | alpha_1). Batch {'images': (b, size, size, 3) in [-1, 1], 'codes': (b, d)}."""

    module: UNet
    schedule: str = "linear"
    size: int = 256
    prediction: str = "noise"
    eta: float = 0.0
    bound: float = 0.0
    stage: ClassVar[str] = "first_frame"

    def _predict(self, params: PyTree, codes: Float[Array, "b d"]) -> diffusion.Denoise:
        return lambda x, t: apply(self.module, params, x, t, codes)

    def loss(self, params: PyTree, batch: Batch, key: jax.Array) -> Float[Array, " b"]:
        """Mean squared error of the prediction over pixels and colours."""
        return _loss(self, self._predict(params, batch["codes"]), batch["images"], key)

    def sample(
        self, params: PyTree, keys: diffusion.Keys, codes: Float[Array, "b d"], sampling: Sampling = Sampling()
    ) -> Float[Array, "b h w 3"]:
        """First frames, about [-1, 1], not clipped."""
        return _sample(self, self._predict(params, codes), keys, (self.size, self.size, 3), sampling)


Denoiser = Motion | Start | Transition | FirstFrame
KINDS: Mapping[str, type] = {kind.stage: kind for kind in (Motion, Start, Transition, FirstFrame)}


def describe(denoiser: Denoiser) -> dict[str, Any]:
    """What `from_description` needs, as JSON: the stage, its own fields, and the network's."""
    fields = {f.name: getattr(denoiser, f.name) for f in dataclasses.fields(denoiser) if f.name != "module"}
    network = {
        f.name: getattr(denoiser.module, f.name)
        for f in dataclasses.fields(denoiser.module)
        if f.name not in ("parent", "name", "dtype")
    }
    return {"stage": denoiser.stage, **fields, "network": network}


def load_description(directory: files.PathLike) -> dict[str, Any]:
    """What model.json of a denoiser's folder says, or denoiser.json before the end of training; nothing if there is neither."""
    directory = pathlib.Path(directory)
    if (directory / weights.MODEL_FILE).exists():
        return weights.load_description(directory)
    path = directory / UNFINISHED_FILE
    return json.loads(path.read_text()) if path.exists() else {}


def from_description(description: Mapping[str, Any], **network: Any) -> Denoiser:
    """The denoiser that `describe` described; `network` overrides fields of its network (dtype, remat).

    Raises ValueError for a stage that is none of KINDS.
    """
    fields = dict(description)
    stage = fields.pop("stage", None)
    if stage not in KINDS:
        raise ValueError(f"a denoiser of stage {stage!r}: one of {tuple(KINDS)}")
    lists = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.pop("network").items()}
    module = (CodeMLP if KINDS[stage] is Start else UNet)(**{**lists, **network})
    return KINDS[stage](module=module, **fields)


def inputs_of(denoiser: Denoiser) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of its network's arguments at batch 1, for `init`."""
    shape = lambda *dims: jax.ShapeDtypeStruct(dims, jnp.float32)
    t = jax.ShapeDtypeStruct((1,), jnp.int32)
    if isinstance(denoiser, Start):
        return shape(1, denoiser.code_dim), t
    if isinstance(denoiser, FirstFrame):
        return shape(1, denoiser.size, denoiser.size, 3), t, shape(1, denoiser.module.condition_dim)
    return shape(1, denoiser.length, denoiser.module.out_channels), t


def _loss(denoiser: Denoiser, predict: diffusion.Denoise, x0: Array, key: jax.Array) -> Float[Array, " b"]:
    schedule = diffusion.make_schedule(denoiser.schedule)
    t, noise = diffusion.draw(schedule, key, x0.shape)
    if denoiser.prediction == "velocity":
        return diffusion.velocity_loss(schedule, predict, x0, t, noise)
    return diffusion.epsilon_loss(schedule, predict, x0, t, noise)


def _sample(
    denoiser: Denoiser,
    predict: diffusion.Denoise,
    keys: diffusion.Keys,
    shape: tuple[int, ...],
    sampling: Sampling,
    origin: Float[Array, "b 1 d"] | None = None,
) -> Array:
    """Walks the denoiser; what it makes is a difference to `origin`, if there is one."""
    eta = denoiser.eta if sampling.eta is None else sampling.eta
    bound = denoiser.bound if sampling.bound is None else sampling.bound
    schedule = diffusion.make_schedule(denoiser.schedule)
    denoise = diffusion.by_velocity(schedule, predict) if denoiser.prediction == "velocity" else predict
    clip = _within(bound, origin) if bound else None
    return diffusion.sample(
        schedule, denoise, keys, shape, steps=sampling.steps, sampler=sampling.sampler, eta=eta, clip=clip
    )


def _within(bound: float, origin: Float[Array, "b 1 d"] | None) -> diffusion.Clip:
    """Keeps origin + x_0 in [-bound, bound], widened to hold the origin."""
    if origin is None:
        return bound
    low, high = jnp.minimum(origin, -bound) - origin, jnp.maximum(origin, bound) - origin
    return lambda x0: jnp.clip(x0, low, high)
