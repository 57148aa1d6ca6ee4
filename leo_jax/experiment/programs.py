"""What the devices run in each stage, by shapes alone: to be compiled where no such device is, or data, or weights."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from leo_jax import denoisers as kinds
from leo_jax import weights
from leo_jax.data.augment import AUGMENTATIONS
from leo_jax.data.pipeline import arrays_of_pair
from leo_jax.denoisers import Statistics
from leo_jax.experiment import animator, denoisers
from leo_jax.experiment.settings import stored_size
from leo_jax.metrics.features import i3d_step
from leo_jax.metrics.protocols import PROTOCOLS
from leo_jax.models.frozen.i3d import I3D
from leo_jax.models.frozen.vgg19 import VGG19
from leo_jax.training import codes, denoising
from leo_jax.training.state import (
    PyTree,
    Task,
    abstract_state,
    along_batch,
    compiled_step,
    replicated,
)


@dataclasses.dataclass(frozen=True)
class Program:
    """One stage's program.

    Attributes:
        batch_size: examples of a global batch.
        example: what one is called.
        pictures: frames that are read and decoded for an example.
        trace: mesh → the traced program, with arguments laid out over the mesh.
        parameters: name → shapes of what is trained.
    """

    batch_size: int
    example: str
    pictures: int
    trace: Callable[[Mesh], jax.stages.Traced]
    parameters: Mapping[str, PyTree] = dataclasses.field(default_factory=dict)


I3D_STAGE = "i3d"  # feature extraction of an evaluation: no stage of a run
STAGES = ("animator", "codes", *kinds.KINDS, I3D_STAGE)


def program_of(config: ConfigDict, stage: str, *, per_device: int | None = None, devices: int = 1) -> Program:
    """The program of one of STAGES.

    Args:
        config: as `configs/*.py` make it; neither data nor weights that it names are opened.
        stage: which.
        per_device: examples of a device; the batch is that many times `devices`, instead of the config's.
        devices: how many there are.

    Raises:
        ValueError: there is no such stage; ConfigError: the config describes a network that cannot be.
    """
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r}: one of {STAGES}")
    if stage == I3D_STAGE:
        return _i3d((per_device or 8) * devices)
    if stage == "codes":
        return _codes(config, (per_device or config.codes.batch_size) * devices)
    given = config.data.batch_size if stage == "animator" else config[stage].batch_size
    size = per_device * devices if per_device else given
    return _animator(config, size) if stage == "animator" else _denoiser(config, stage, size)


def _animator(config: ConfigDict, size: int) -> Program:
    tile = _shape((1, 16, 16, 3), jnp.float32)
    vgg19 = weights.shapes_of(VGG19(), tile) if config.animator.perceptual == "vgg19" else None
    task = animator.make_task(config, vgg19=vgg19)
    arrays = arrays_of_pair(stored_size(config), AUGMENTATIONS[config.data.augmentation])
    batch = {name: _shape((size, *spec.shape), spec.dtype) for name, spec in arrays.items()}
    return _trained(task, batch, "pair", 2)


def _denoiser(config: ConfigDict, stage: str, size: int) -> Program:
    denoiser = denoisers.denoiser_of(config, stage)
    inputs = kinds.inputs_of(denoiser)
    d = config.model.code_dim
    shape: Any = _shape((d,), jnp.float32)
    statistics = Statistics(shape, shape)
    task = denoising.make_task(denoiser, statistics, denoisers.settings_of(config[stage]))
    if stage == "first_frame":
        batch = {"images": _shape((size, *inputs[0].shape[1:]), jnp.uint8), "codes": _shape((size, d), jnp.float32)}
        return _trained(task, batch, "image", 1)
    batch = {"codes": _shape((size, *inputs[0].shape[1:]), jnp.float32)}
    return _trained(task, batch, "code" if stage == "start" else "sequence", 0)


def _trained(task: Task, batch: PyTree, example: str, pictures: int) -> Program:
    def trace(mesh: Mesh) -> jax.stages.Traced:
        key, number = jax.eval_shape(lambda: jax.random.key(0)), _shape((), jnp.uint32)
        arguments = (_laid(task.frozen, replicated(mesh)), _laid(batch, along_batch(mesh)))
        return compiled_step(task, mesh).trace(
            abstract_state(task, 0, mesh), *arguments, *_laid((key, number), replicated(mesh))
        )

    state = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    size = jax.tree.leaves(batch)[0].shape[0]
    return Program(size, example, pictures, trace, _parameters(task.name, state))


def _codes(config: ConfigDict, size: int) -> Program:
    module, _ = animator.networks(config)
    image = _shape((size, module.size, module.size, 3), jnp.uint8)
    float_image = _shape((1, module.size, module.size, 3), jnp.float32)
    params = weights.shapes_of(module, float_image, float_image)

    def trace(mesh: Mesh) -> jax.stages.Traced:
        arguments = _laid(params, replicated(mesh)), _laid(image, along_batch(mesh))
        return codes.encode_step(module, mesh).trace(*arguments)

    return Program(size, "frame", 1, trace)


def _i3d(size: int) -> Program:
    protocol = PROTOCOLS["styleganv-16f"]
    clips = _shape((size, protocol.frames, 256, 256, 3), jnp.uint8)
    params = weights.shapes_of(I3D(), _shape((1, protocol.frames, 224, 224, 3), jnp.float32))

    def trace(mesh: Mesh) -> jax.stages.Traced:
        return i3d_step(protocol, mesh).trace(_laid(params, replicated(mesh)), _laid(clips, along_batch(mesh)))

    return Program(size, "clip", protocol.frames, trace)


def _parameters(name: str, state: PyTree) -> dict[str, PyTree]:
    """What is trained, by network: the state is one network's, or has one for each name."""
    return {name: state["params"]} if "params" in state else {n: s["params"] for n, s in state.items() if "params" in s}


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))


def _laid(tree: PyTree, sharding: Any) -> PyTree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
