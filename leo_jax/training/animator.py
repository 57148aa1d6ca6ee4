"""The adversarial task: stage 1 of LEO, LIA's training (SPEC §1)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, UInt8

from leo_jax import losses
from leo_jax.data.pipeline import COLOUR, SQUARE
from leo_jax.models.animator import Animator
from leo_jax.models.apply import apply
from leo_jax.models.discriminator import BLOCK, Discriminator
from leo_jax.models.frozen.vgg19 import VGG19
from leo_jax.models.generator import Frames
from leo_jax.ops import colour, crop
from leo_jax.training import pictures
from leo_jax.training.accumulation import averaged
from leo_jax.training.state import Metrics, PyTree, Task, spread, to_host, whole
from leo_jax.training.updates import check_falloff, falling, promoting, running_mean, updated, updates_made

Batch = Mapping[str, Array]

OPTIMISERS = ("adam", "muon")
MUON_RMS = 0.3  # of a matrix's entries, times the rate, in an update of Muon: about what Adam's are
NARROW = 16  # matrices with fewer rows or columns are Adam's: those from and to three channels


def optimiser(
    learning_rate: float,
    ratio: float,
    beta1: float = 0.0,
    beta2: float = 0.99,
    eps: float = 1e-8,
    *,
    kind: str = "adam",
) -> optax.GradientTransformation:
    """Adam rescaled as StyleGAN2's lazy regularisation does: rate·ratio, betas (beta1^ratio, beta2^ratio).

    With `kind` 'muon' (ours) that is, with Nesterov's momentum, for vectors, the motion directions and narrow matrices;
    kernels, as matrices from all they read to a channel, follow the momentum of their gradient (0.95, Nesterov's) made
    orthogonal: all of its directions are learnt at one pace, also those that few pixels ask for.
    """
    rate, betas = learning_rate * ratio, (beta1**ratio, beta2**ratio)
    if kind == "adam":
        return promoting(optax.adam(rate, *betas, eps=eps))
    muon = functools.partial(optax.contrib.muon, muon_weight_dimension_numbers=_matrices, consistent_rms=MUON_RMS)
    return promoting(muon(rate, adam_b1=betas[0], adam_b2=betas[1], eps=eps))


def _matrices(params: PyTree) -> PyTree:
    """For each array how Muon reads it as a matrix, None for what is Adam's."""

    def dimensions(path: Any, array: Any) -> optax.contrib.MuonDimensionNumbers | None:
        inputs = tuple(range(array.ndim - 1))
        kernel = path[-1].key == "kernel" and min(math.prod(array.shape[:-1]), array.shape[-1]) >= NARROW
        return optax.contrib.MuonDimensionNumbers(inputs, array.ndim - 1) if kernel else None

    return jax.tree_util.tree_map_with_path(dimensions, params)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Constants of the training; the defaults are the original's, or named as ours.

    Attributes:
        generator_lr: before the rescaling by 4/5.
        discriminator_lr: before the rescaling by 16/17.
        beta1: of both; the original has 0.
        beta2: of both, before the rescaling.
        eps: of both.
        optimiser: of both: 'adam', the original's, or 'muon' (ours), see `optimiser`.
        perceptual: 'vgg19', or ours for data without its weights: 'pyramid_l1'.
        perceptual_weight: of each VGG layer (10), or of the pyramid.
        motion_emphasis: of 'pyramid_l1' (ours): how much more a pixel counts that differs between source and driving frame.
        l1_weight: of the plain L1.
        adversarial_weight: of softplus(-D(fake)); 0 trains without a discriminator (ours).
        ema_decay: of a running mean of the generator's parameters; 0 for none, as the original (the mean is ours).
        steps: of the whole training, where `falloff` ends.
        falloff: last steps, over which both rates fall linearly to 0; 0 keeps them, as the original (ours).
        accumulate: parts in which a step goes through its batch, to save memory; the result is that of 1 up to rounding.
    """

    generator_lr: float = 0.002
    discriminator_lr: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    eps: float = 1e-8
    optimiser: str = "adam"
    perceptual: str = "vgg19"
    perceptual_weight: float = 10.0
    motion_emphasis: float = 0.0
    l1_weight: float = 1.0
    adversarial_weight: float = 1.0
    ema_decay: float = 0.0
    steps: int = 0
    falloff: int = 0
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_falloff(self.falloff)
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser = {self.optimiser!r}: one of {', '.join(OPTIMISERS)}")
        if self.perceptual not in ("vgg19", "pyramid_l1"):
            raise ValueError(f"perceptual = {self.perceptual!r}: 'vgg19' or 'pyramid_l1'")


def to_float(images: UInt8[Array, "*dims"]) -> Float[Array, "*dims"]:
    """uint8 → float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def frames_of(batch: Batch, size: int) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s 3"]]:
    """The source and driving frames of a batch in [-1, 1]: cropped ('square') and in changed colours ('colour') if it says so."""
    pair = [to_float(batch[name]) for name in ("source", "driving")]
    if SQUARE in batch:
        pair = [crop.resized(images, batch[SQUARE], size) for images in pair]
    if COLOUR in batch:
        pair = [colour.change(images, batch[COLOUR]) for images in pair]
    source, driving = pair
    return source, driving


def _reconstruction(
    settings: Settings, frozen: PyTree, source: Array, real: Array, dtype: Any, remat: bool
) -> Callable[[Array], tuple[Array, Metrics]]:
    """The part of the generator's loss that compares with the driving frame, as a function of the fake."""

    def loss(fake: Array) -> tuple[Array, Metrics]:
        if settings.perceptual == "vgg19":
            features = lambda x: apply(VGG19(dtype), frozen["vgg19"], x)
            features = jax.checkpoint(features) if remat else features
            perceptual = losses.perceptual(features, fake, real, weight=settings.perceptual_weight)
        else:
            weights = {"weight": settings.perceptual_weight, "emphasis": settings.motion_emphasis}
            perceptual = losses.pyramid_l1(fake, real, still=source, **weights)
        l1 = losses.l1(fake, real)
        return perceptual + settings.l1_weight * l1, {"perceptual": perceptual, "l1": l1}

    return loss


def make_task(
    animator: Animator,
    discriminator: Discriminator | None,
    settings: Settings,
    *,
    vgg19: PyTree | None = None,
    given: Mapping[str, PyTree] | None = None,
    evaluate: Callable[[PyTree, PyTree], Mapping[str, float]] | None = None,
) -> Task:
    """The task that trains `animator` against `discriminator`.

    A step makes one update of each network from a batch of {'source', 'driving'}, uint8 (b, h, w, 3), and perhaps {'square'},
    float32 (b, 3), what is cut out of both first (`ops.crop`), and {'colour'}, float32 (b, 4), by which their colours are changed
    then (`ops.colour`). The generator's loss is
    perceptual + L1 + softplus(-D(fake)), the discriminator's softplus(-D(real)) + softplus(D(fake)) on the same fake.
    The state is {'generator': …, 'discriminator': …}, each {'params', 'optimiser'}, and {'ema'} if there is one.

    Args:
        animator: the generator and all before it.
        discriminator: its adversary, if the settings ask for one.
        settings: constants.
        vgg19: weights, if the settings ask for them.
        given: parameters to begin with, 'animator' and, if there are any, 'discriminator' (a model's parts).
        evaluate: what measures held-out data.

    Raises:
        ValueError: the settings ask for VGG19 and `vgg19` is None, or for a discriminator and there is none.
    """
    if (settings.perceptual == "vgg19") != (vgg19 is not None):
        raise ValueError(
            f"perceptual = {settings.perceptual!r} and vgg19 weights {'missing' if vgg19 is None else 'given'}"
        )
    if (settings.adversarial_weight > 0) != (discriminator is not None):
        raise ValueError("a discriminator is needed exactly when adversarial_weight is above 0")
    betas = settings.beta1, settings.beta2
    rules = {
        name: optimiser(rate, ratio, *betas, settings.eps, kind=settings.optimiser)
        for name, rate, ratio in (
            ("generator", settings.generator_lr, 4 / 5),
            ("discriminator", settings.discriminator_lr, 16 / 17),
        )
    }

    def init(key: jax.Array) -> PyTree:
        keys = jax.random.split(key)
        images = jnp.zeros((1, animator.size, animator.size, 3), jnp.float32)
        params = {"generator": animator.init(keys[0], images, images)["params"]}
        if discriminator:
            params["discriminator"] = discriminator.init(keys[1], images)["params"]
        state = {name: {"params": p, "optimiser": rules[name].init(p)} for name, p in params.items()}
        return state | ({"ema": jax.tree.map(jnp.copy, params["generator"])} if settings.ema_decay else {})

    def compute(params: PyTree, frozen: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        """Gradients of both networks and metrics, all of them means over the batch."""
        source, driving = frames_of(batch, animator.size)
        draw = lambda params: apply(animator, params, source, driving).image
        fake, generator_vjp = jax.vjp(draw, params["generator"])
        compare = _reconstruction(settings, frozen, source, driving, animator.dtype, animator.remat)
        (loss, metrics), to_fake = jax.value_and_grad(compare, has_aux=True)(fake)
        gradients = {}
        if discriminator:
            judge = lambda params, images: apply(discriminator, params, images)
            # One forward pass on the fake, two backward ones: to the image for the generator, to the weights for itself.
            logits_fake, fake_vjp = jax.vjp(judge, params["discriminator"], fake)
            adversarial, to_logits = jax.value_and_grad(losses.adversarial_generator)(logits_fake)
            to_fake += settings.adversarial_weight * fake_vjp(to_logits)[1]
            logits_real, real_vjp = jax.vjp(lambda p: judge(p, driving), params["discriminator"])
            critic = losses.adversarial_discriminator
            loss_d, (to_real, to_logits) = jax.value_and_grad(critic, argnums=(0, 1))(logits_real, logits_fake)
            gradients["discriminator"] = jax.tree.map(jnp.add, real_vjp(to_real)[0], fake_vjp(to_logits)[0])
            loss += settings.adversarial_weight * adversarial
            metrics |= {"adversarial": adversarial, "discriminator": loss_d}
        gradients["generator"] = generator_vjp(to_fake)[0]
        return gradients, {"loss": loss, **metrics}

    def step(state: PyTree, frozen: PyTree, batch: Batch, key: jax.Array) -> tuple[PyTree, Metrics]:
        params = {name: state[name]["params"] for name in rules if name in state}
        gradients, metrics = averaged(
            lambda part: compute(params, frozen, part),
            batch,
            settings.accumulate,
            block=BLOCK if discriminator else 1,
        )
        count = updates_made(state["generator"]["optimiser"])
        factor = falling(count, settings.steps, settings.falloff)
        new = {name: _update(rules[name], state[name], gradients[name], factor) for name in gradients}
        if settings.ema_decay:
            count = updates_made(new["generator"]["optimiser"])
            new["ema"] = running_mean(state["ema"], new["generator"]["params"], settings.ema_decay, count)
        return new, metrics

    begin: dict[str, PyTree] = {}
    if given:
        begin["generator"] = {"params": given["animator"]}
        if settings.ema_decay:
            begin["ema"] = given["animator"]
        if discriminator and "discriminator" in given:
            begin["discriminator"] = {"params": given["discriminator"]}
    frozen = {"vgg19": vgg19} if vgg19 is not None else {}
    return Task("animator", init, step, frozen, make_picture(animator), evaluate, begin)


def _update(rule: optax.GradientTransformation, state: PyTree, gradients: PyTree, factor: Float[Array, ""]) -> PyTree:
    params, optimiser = updated(rule, gradients, state["optimiser"], state["params"], factor)
    return {"params": params, "optimiser": optimiser}


def generator_params(state: PyTree) -> PyTree:
    """The parameters to use and to keep: the running mean if there is one."""
    return state.get("ema", state["generator"]["params"])


def make_picture(animator: Animator) -> Callable[[PyTree, PyTree, Batch], UInt8[np.ndarray, "h w 3"]]:
    """A sheet of source, driving frame, reconstruction, mask and flow, a row an example."""

    @jax.jit
    def draw(params: PyTree, batch: Batch) -> tuple[Array, Array, Frames]:
        source, driving = frames_of(batch, animator.size)
        return source, driving, apply(animator, params, source, driving)

    def picture(state: PyTree, frozen: PyTree, batch: Batch) -> UInt8[np.ndarray, "h w 3"]:
        source, driving, frames = draw(generator_params(state), batch)
        return pictures.animator_sheet(
            source=to_host(source),
            driving=to_host(driving),
            reconstruction=to_host(frames.image),
            mask=to_host(frames.mask[animator.size]),
            flow=to_host(frames.flow[animator.size]),
        )

    return picture


def make_evaluation(
    animator: Animator,
    source: UInt8[np.ndarray, "n h w 3"],
    driving: UInt8[np.ndarray, "n h w 3"],
    moving: Bool[np.ndarray, "n h w"] | None = None,
    *,
    batch_size: int = 16,
) -> Callable[[PyTree, PyTree], dict[str, float]]:
    """Measures held-out pairs at every checkpoint: mean |0.5·(clamp(x̂) - x)|, and the same of copying the source.

    Args:
        animator: the network.
        source: frames to animate, of videos that are not trained on.
        driving: other frames of the same videos, to be reconstructed.
        moving: pixels of the moving region (both silhouettes), where the ground truth knows it.
        batch_size: pairs at a time.

    Returns:
        (state, frozen) → {'heldout/l1', 'heldout/l1_copy', 'heldout/ratio'} and, with `moving`, the same of that region. The
        devices of the mesh that is set share the pairs.
    """
    moving_ = np.ones(source.shape[:3], bool) if moving is None else moving

    @jax.jit
    def sums(params: PyTree, source: Array, driving: Array, moving: Array) -> Float[Array, "4"]:
        source, driving, moving = spread((source, driving, moving))
        x, real = to_float(source), to_float(driving)
        fake = jnp.clip(apply(animator, whole(params), x, real).image, -1, 1)
        error, copy = (jnp.mean(jnp.abs(y - real), axis=-1) / 2 for y in (fake, x))
        return jnp.stack([jnp.sum(v) for v in (error, copy, jnp.where(moving, error, 0), jnp.where(moving, copy, 0))])

    def evaluate(state: PyTree, frozen: PyTree) -> dict[str, float]:
        params, total = generator_params(state), np.zeros(4)
        for start in range(0, len(source), batch_size):
            part = slice(start, start + batch_size)
            total += to_host(sums(params, source[part], driving[part], moving_[part])).astype(np.float64)
        pixels, pixels_moving = moving_.size, moving_.sum()
        results = {
            "heldout/l1": total[0] / pixels,
            "heldout/l1_copy": total[1] / pixels,
            "heldout/ratio": total[0] / total[1],
        }
        if moving is not None:
            results |= {
                "heldout/moving_l1": total[2] / pixels_moving,
                "heldout/moving_l1_copy": total[3] / pixels_moving,
                "heldout/moving_ratio": total[2] / total[3],
            }
        return {name: float(value) for name, value in results.items()}

    return evaluate
