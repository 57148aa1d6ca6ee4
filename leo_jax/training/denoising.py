"""The denoising task: one for all four diffusion models of LEO (SPEC §3), which differ in `leo_jax.denoisers`."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped, UInt8

from leo_jax import denoisers
from leo_jax.denoisers import Denoiser, Statistics
from leo_jax.training.accumulation import averaged
from leo_jax.training.animator import to_float
from leo_jax.training.state import Metrics, PyTree, Task, spread, to_host, whole
from leo_jax.training.updates import adam, check_falloff, falling, running_mean, updated, updates_made

Batch = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Constants of the training.

    Attributes:
        learning_rate: of AdamW without decay.
        warmup: steps over which the rate rises linearly (ours).
        steps: of the whole training, where `falloff` ends.
        falloff: last steps, over which the rate falls linearly to 0; 0 keeps it (ours).
        ema_decay: of the running mean of the parameters, which is what samples.
        accumulate: parts in which a step goes through its batch, to save memory; the result is that of 1 up to rounding.
    """

    learning_rate: float = 1e-4
    warmup: int = 1000
    steps: int = 0
    falloff: int = 0
    ema_decay: float = 0.9999
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_falloff(self.falloff)


def prepared(frozen: PyTree, batch: Batch) -> dict[str, Array]:
    """A batch as the denoisers take it: codes standardised, images in [-1, 1] (they come as the animator's, and as bytes)."""
    ready = {"codes": frozen["statistics"].standardise(batch["codes"])}
    return ready | ({"images": to_float(batch["images"])} if "images" in batch else {})


def make_task(
    denoiser: Denoiser,
    statistics: Statistics,
    settings: Settings,
    *,
    given: PyTree | None = None,
    picture: Callable[[PyTree, PyTree, Batch], UInt8[np.ndarray, "h w 3"]] | None = None,
    evaluate: Callable[[PyTree, PyTree], Mapping[str, float]] | None = None,
) -> Task:
    """The task that trains `denoiser` to predict the noise: mean squared error, a uniform step for each sample.

    Its batches are what `denoiser.loss` names, the codes as the animator gives them, the images as bytes. Its state is {'params',
    'optimiser', 'ema'}; its name the denoiser's stage. `given` are parameters to begin with.
    """
    transformation = adam(settings.learning_rate, settings.warmup)

    def init(key: jax.Array) -> PyTree:
        inputs = (jnp.zeros(x.shape, x.dtype) for x in denoisers.inputs_of(denoiser))
        params = denoiser.module.init(key, *inputs)["params"]
        return {"params": params, "optimiser": transformation.init(params), "ema": jax.tree.map(jnp.copy, params)}

    def step(state: PyTree, frozen: PyTree, batch: Batch, key: jax.Array) -> tuple[PyTree, Metrics]:
        keys = jax.random.split(key, batch["codes"].shape[0])  # its own for each sample, in whichever part it comes

        def compute(part: tuple[Batch, jax.Array]) -> tuple[Array, PyTree]:
            loss = lambda params: denoiser.loss(params, prepared(frozen, part[0]), part[1]).mean()
            return jax.value_and_grad(loss)(state["params"])

        loss, gradients = averaged(compute, (batch, keys), settings.accumulate)
        factor = falling(updates_made(state["optimiser"]), settings.steps, settings.falloff)
        params, optimiser = updated(transformation, gradients, state["optimiser"], state["params"], factor)
        ema = running_mean(state["ema"], params, settings.ema_decay, updates_made(optimiser))
        metrics = {"loss": loss, "gradient/norm": optax.tree_utils.tree_norm(gradients)}
        return {"params": params, "optimiser": optimiser, "ema": ema}, metrics

    begin = {"params": given, "ema": given} if given is not None else {}
    return Task(denoiser.stage, init, step, {"statistics": statistics}, picture, evaluate, begin)


def make_evaluation(
    denoiser: Denoiser, examples: Mapping[str, Shaped[np.ndarray, "n ..."]], *, seed: int, batch_size: int = 64
) -> Callable[[PyTree, PyTree], dict[str, float]]:
    """Measures the running mean at every checkpoint: the loss on held-out examples, with the same steps and noise each time.

    Args:
        denoiser: what is trained.
        examples: arrays as in a batch, of videos that are not trained on.
        seed: of steps and noise.
        batch_size: examples at a time.

    Returns:
        (state, frozen) → {'heldout/loss'}. The devices of the mesh that is set share the examples.
    """
    number = len(examples["codes"])

    @jax.jit
    def losses(params: PyTree, frozen: PyTree, batch: Batch, key: jax.Array) -> Float[Array, " b"]:
        return denoiser.loss(whole(params), prepared(frozen, spread(batch)), key)

    def evaluate(state: PyTree, frozen: PyTree) -> dict[str, float]:
        total = 0.0
        for start in range(0, number, batch_size):
            batch = {name: array[start : start + batch_size] for name, array in examples.items()}
            key = jax.random.fold_in(jax.random.key(seed), start)
            total += float(to_host(losses(state["ema"], frozen, batch, key)).astype(np.float64).sum())
        return {"heldout/loss": total / number}

    return evaluate
