"""Denoising diffusion, once for every network: schedules, noising, the epsilon loss, DDPM and DDIM sampling.

Everything takes `denoise(x, t) -> eps`, a function of the noisy x (b, ...) and the timesteps t (b,), never a module: what
is kept clean, or how x enters a network (the Linear Motion Condition, the two ends of a transition), is the business of
that function, and the same one serves training and sampling. Samples may have any shape after the batch axis.

Equations are those of Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM) and Nichol & Dhariwal 2021 (cosine schedule,
respacing). Randomness of a sample is a function of that sample's own key: its batch neighbours never change it.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

STEPS = 1000  # of a schedule, unless it is made with others
Denoise = Callable[[Float[Array, " b *axes"], Int[Array, " b"]], Float[Array, " b *axes"]]
Keys = Key[Array, " b"] | UInt32[Array, "b 2"]
Clip = float | Callable[[Array], Array] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """Betas and what follows from them, float64 NumPy tables of one entry per step (n,), cast to float32 at use.

    `timesteps[i]` is what a network is told at step i: i itself, or the original step when the schedule is respaced.
    """

    betas: np.ndarray
    timesteps: np.ndarray

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """ā_t, the product of 1 − beta up to and with t."""
        return np.cumprod(1 - self.betas)

    @property
    def alphas_cumprod_prev(self) -> np.ndarray:
        """ā_{t−1}, with 1 before the first step."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @property
    def posterior_variance(self) -> np.ndarray:
        """Variance of q(x_{t−1} | x_t, x_0) (DDPM, eq. 7); 0 at t = 0."""
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @property
    def posterior_mean_coef1(self) -> np.ndarray:
        """Factor of x_0 in the mean of q(x_{t−1} | x_t, x_0) (DDPM, eq. 7)."""
        return self.betas * np.sqrt(self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @property
    def posterior_mean_coef2(self) -> np.ndarray:
        """Factor of x_t in the mean of q(x_{t−1} | x_t, x_0) (DDPM, eq. 7)."""
        return (1 - self.alphas_cumprod_prev) * np.sqrt(1 - self.betas) / (1 - self.alphas_cumprod)

    @property
    def log_variance(self) -> np.ndarray:
        """Log variance of an ancestral step, "fixed large": log beta, the first entry log posterior_variance[1]."""
        # A schedule of a single step has no second entry; its only step is the last, which adds no noise.
        first = self.posterior_variance[1] if len(self) > 1 else self.betas[0]
        return np.log(np.append(first, self.betas[1:]))


def linear_schedule(steps: int = STEPS) -> Schedule:
    """Betas from 1e-4 to 0.02 in equal steps; both ends scaled by 1000/steps, so that ā ends near 0 for any `steps`."""
    return _schedule(np.linspace(1e-4, 0.02, steps) * (1000 / steps))


def cosine_schedule(steps: int = STEPS, offset: float = 0.008, largest: float = 0.999) -> Schedule:
    """ā_t = f(t)/f(0), f(t) = cos²((t/n + s)/(1 + s)·π/2), betas at most `largest` (Nichol & Dhariwal, eq. 17)."""
    edge = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return _schedule(np.minimum(1 - edge[1:] / edge[:-1], largest))


def make_schedule(name: str, steps: int = STEPS) -> Schedule:
    """The schedule a config names: 'linear' or 'cosine'. Raises ValueError for another name."""
    makers = {"linear": linear_schedule, "cosine": cosine_schedule}
    if name not in makers:
        raise ValueError(f"the schedule is {name!r}; it must be one of {', '.join(makers)}")
    return makers[name](steps)


def _schedule(betas: np.ndarray) -> Schedule:
    if not (len(betas) and np.all((betas > 0) & (betas < 1))):
        raise ValueError(
            f"{len(betas)} steps make betas outside (0, 1): use more steps (a linear schedule needs over 20)"
        )
    return Schedule(betas, np.arange(len(betas)))


def respace(schedule: Schedule, steps: int) -> Schedule:
    """The schedule of `steps` of the steps, floor(i·len(schedule)/steps): ā at those steps is unchanged.

    Raises ValueError unless 1 <= steps <= len(schedule).
    """
    if not 1 <= steps <= len(schedule):
        raise ValueError(f"steps is {steps}; a schedule of {len(schedule)} steps can be walked in 1 … {len(schedule)}")
    kept = np.arange(steps) * len(schedule) // steps
    cumulative = schedule.alphas_cumprod[kept]
    return Schedule(1 - cumulative / np.append(1.0, cumulative[:-1]), schedule.timesteps[kept])


def _at(table: np.ndarray, t: Int[Array, " b"], ndim: int) -> Float[Array, "b ..."]:
    """Entries t of a table in float32, with axes of 1 to stand against an array of `ndim` axes."""
    return jnp.asarray(table, jnp.float32)[t].reshape((-1,) + (1,) * (ndim - 1))


def q_sample(
    schedule: Schedule, x0: Float[Array, " b *axes"], t: Int[Array, " b"], noise: Float[Array, " b *axes"]
) -> Float[Array, " b *axes"]:
    """Noises x0 to step t: sqrt(ā_t)·x0 + sqrt(1 − ā_t)·noise (DDPM, eq. 4)."""
    a = schedule.alphas_cumprod
    return _at(np.sqrt(a), t, x0.ndim) * x0 + _at(np.sqrt(1 - a), t, x0.ndim) * noise


def predict_x0(
    schedule: Schedule, x: Float[Array, " b *axes"], t: Int[Array, " b"], eps: Float[Array, " b *axes"]
) -> Float[Array, " b *axes"]:
    """The x_0 that noise eps would have brought to x at step t: q_sample solved for x0."""
    a = schedule.alphas_cumprod
    return _at(np.sqrt(1 / a), t, x.ndim) * x - _at(np.sqrt(1 / a - 1), t, x.ndim) * eps


def posterior_mean(
    schedule: Schedule, x0: Float[Array, " b *axes"], x: Float[Array, " b *axes"], t: Int[Array, " b"]
) -> Float[Array, " b *axes"]:
    """Mean of q(x_{t−1} | x_t, x_0) (DDPM, eq. 7)."""
    return _at(schedule.posterior_mean_coef1, t, x.ndim) * x0 + _at(schedule.posterior_mean_coef2, t, x.ndim) * x


def draw(
    schedule: Schedule, key: Key[Array, ""] | UInt32[Array, " 2"] | Keys, shape: tuple[int, ...]
) -> tuple[Int[Array, " b"], Float[Array, " b *axes"]]:
    """What a training step draws for a batch of `shape` (b, ...): steps t (b,), uniform, and noise of that shape.

    Given one key for each sample, a sample's draws are functions of its own key, whatever the batch.
    """
    if key.ndim == (1 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 2):
        t, noise = jax.vmap(lambda one: draw(schedule, one, (1, *shape[1:])))(key)
        return t[:, 0], noise[:, 0]
    key_t, key_noise = jax.random.split(key)
    return jax.random.randint(key_t, shape[:1], 0, len(schedule)), jax.random.normal(key_noise, shape, jnp.float32)


def epsilon_loss(
    schedule: Schedule,
    denoise: Denoise,
    x0: Float[Array, " b *axes"],
    t: Int[Array, " b"],
    noise: Float[Array, " b *axes"],
) -> Float[Array, " b"]:
    """Mean squared error of the predicted noise, per sample: Ho et al.'s simple loss (DDPM, eq. 14)."""
    return _errors(schedule, denoise, x0, t, noise, noise).mean(-1)


def velocity_loss(
    schedule: Schedule,
    predict: Denoise,
    x0: Float[Array, " b *axes"],
    t: Int[Array, " b"],
    noise: Float[Array, " b *axes"],
) -> Float[Array, " b"]:
    """Mean squared error of the predicted velocity sqrt(ā_t)·noise − sqrt(1 − ā_t)·x0, per sample (Salimans & Ho 2022).

    It is that of the noise over ā_t: what x_0 is counts as much where noise is all.
    """
    a = schedule.alphas_cumprod
    velocity = _at(np.sqrt(a), t, x0.ndim) * noise - _at(np.sqrt(1 - a), t, x0.ndim) * x0
    return _errors(schedule, predict, x0, t, noise, velocity).mean(-1)


def _errors(
    schedule: Schedule, predict: Denoise, x0: Array, t: Array, noise: Array, target: Array
) -> Float[Array, "b positions"]:
    """Mean squared error at each position of what is predicted from the noised x0."""
    predicted = predict(q_sample(schedule, x0, t, noise), jnp.asarray(schedule.timesteps, jnp.int32)[t])
    return jnp.square(predicted.astype(jnp.float32) - target).reshape(x0.shape[0], -1, x0.shape[-1]).mean(-1)


def by_velocity(schedule: Schedule, predict: Denoise) -> Denoise:
    """The noise in x, of a network that predicts the velocity; `schedule` is the whole one, whose steps t count."""
    a = schedule.alphas_cumprod

    def denoise(x: Array, t: Array) -> Array:
        velocity = predict(x, t).astype(jnp.float32)
        return _at(np.sqrt(a), t, x.ndim) * velocity + _at(np.sqrt(1 - a), t, x.ndim) * x

    return denoise


def normal(keys: Keys, shape: tuple[int, ...], index: int | Int[Array, ""]) -> Float[Array, " b *axes"]:
    """Standard normal noise (b, *shape); sample i's is a function of (keys[i], index) alone, whatever the batch."""

    def one(key):
        return jax.random.normal(jax.random.fold_in(key, index), shape, jnp.float32)

    return jax.vmap(one)(keys)


def ddpm(
    schedule: Schedule,
    denoise: Denoise,
    start: Float[Array, " b *axes"],
    keys: Keys,
    *,
    clip: Clip = None,
) -> Float[Array, " b *axes"]:
    """Ancestral sampling over all steps of `schedule` with variance fixed-large (DDPM, algorithm 2).

    Args:
      schedule: the steps walked, last to first; `respace` it to walk fewer.
      denoise: predicts the noise from x (b, ...) and t (b,), t being `schedule.timesteps` of the step.
      start: x at the last step, standard normal.
      keys: one per sample; each step's noise is drawn from (key, step).
      clip: bound of the predicted x_0 in absolute value (1 for images), a function that bounds it, or None to leave it alone.
    """

    def step(x, i, t, x0, eps):
        noise = normal(keys, x.shape[1:], i)
        deviation = _at(np.exp(0.5 * schedule.log_variance), t, x.ndim)
        return posterior_mean(schedule, x0, x, t) + jnp.where(i > 0, deviation, 0.0) * noise

    return _walk(schedule, denoise, start, step, clip)


def ddim(
    schedule: Schedule,
    denoise: Denoise,
    start: Float[Array, " b *axes"],
    keys: Keys | None = None,
    *,
    eta: float = 0.0,
    clip: Clip = None,
) -> Float[Array, " b *axes"]:
    """DDIM sampling over all steps of `schedule` (Song et al. 2021, eqs. 12 and 16): usually a respaced one.

    Args:
      schedule: the steps walked, last to first: `respace(schedule, 50)` for 50 steps.
      denoise: predicts the noise from x (b, ...) and t (b,), t being `schedule.timesteps` of the step.
      start: x at the last step, standard normal.
      keys: one per sample; needed only when eta > 0.
      eta: 0 is deterministic; 1 has the variance of an ancestral step ("fixed small").
      clip: as in `ddpm`; eps follows from the clipped x_0.

    Raises:
      ValueError: eta > 0 without keys.
    """
    if eta and keys is None:
        raise ValueError(f"eta is {eta}, which adds noise at every step: pass keys, one per sample, or eta=0")
    a, before = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    sigma = eta * np.sqrt((1 - before) / (1 - a)) * np.sqrt(1 - a / before)

    def step(x, i, t, x0, eps):
        x = _at(np.sqrt(before), t, x.ndim) * x0 + _at(np.sqrt(1 - before - sigma**2), t, x.ndim) * eps
        # Sigma is 0 at the first step (ā before it is 1), so the last x carries no noise.
        return x + _at(sigma, t, x.ndim) * normal(keys, x.shape[1:], i) if eta else x

    return _walk(schedule, denoise, start, step, clip)


def _walk(schedule: Schedule, denoise: Denoise, start, step, clip: Clip) -> Float[Array, " b *axes"]:
    """Goes from the last step of the schedule to the first as one `lax.scan`; `step` makes x_{t−1} of x_t, x_0 and eps."""
    timesteps = jnp.asarray(schedule.timesteps, jnp.int32)

    def body(x, i):
        t = jnp.full(x.shape[:1], i, jnp.int32)
        eps = denoise(x, timesteps[t]).astype(jnp.float32)
        x0 = predict_x0(schedule, x, t, eps)
        if clip is not None:
            x0 = clip(x0) if callable(clip) else jnp.clip(x0, -clip, clip)
            a = schedule.alphas_cumprod
            eps = (x - _at(np.sqrt(a), t, x.ndim) * x0) / _at(np.sqrt(1 - a), t, x.ndim)
        return step(x, i, t, x0, eps), None

    return jax.lax.scan(body, start, jnp.arange(len(schedule) - 1, -1, -1, dtype=jnp.int32))[0]


def sample(
    schedule: Schedule,
    denoise: Denoise,
    keys: Keys,
    shape: tuple[int, ...],
    *,
    steps: int = 50,
    sampler: str = "ddim",
    eta: float = 0.0,
    clip: Clip = None,
) -> Float[Array, " b *axes"]:
    """Draws one sample of `shape` for each key: respaces the schedule, draws the start, walks it.

    Call it inside a jitted function that takes the network's parameters and the keys as arguments. A sample is a function of its
    key: neither the batch it is drawn in nor its place there enters.

    Args:
      schedule: the one the network was trained with.
      denoise: predicts the noise from x (b, *shape) and the timesteps (b,).
      keys: one per sample.
      shape: of one sample, (t, c) or (h, w, c).
      steps: how many of the schedule's steps are walked.
      sampler: 'ddim' or 'ddpm' (ancestral, variance fixed-large, of the respaced schedule).
      eta: of DDIM.
      clip: as in `ddpm`; None (the default) never clips.

    Raises:
      ValueError: steps outside 1 … len(schedule), or another sampler's name.
    """
    start = normal(keys, shape, len(schedule))  # the steps' own noise has indices below len(schedule)
    walked = respace(schedule, steps)
    if sampler == "ddim":
        return ddim(walked, denoise, start, keys, eta=eta, clip=clip)
    if sampler == "ddpm":
        return ddpm(walked, denoise, start, keys, clip=clip)
    raise ValueError(f"the sampler is {sampler!r}; it must be 'ddim' or 'ddpm'")
