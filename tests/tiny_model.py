"""A tiny model with all five networks on disk, as finished stages leave it. Its weights are random: it draws noise, quickly.

No weight is zero, so every input reaches every output (as initialised, a denoiser predicts no noise whatever it is shown).
"""

import pathlib
from typing import Any

import jax
import numpy as np

from leo_jax import api, denoisers, weights
from leo_jax.models.animator import Animator
from leo_jax.models.code_mlp import CodeMLP
from leo_jax.models.unet import UNet

SIZE, CODE_DIM, LENGTH, BRIDGE = (
    16,
    3,
    8,
    6,
)  # px, codes' width, codes in a segment, codes in a transition with its ends
STRIDE, FPS = 2, 25.0  # of the data; what the model makes plays at FPS / STRIDE
UNET = {"width": 8, "multipliers": (1,), "num_blocks": 1, "attention": (1,), "num_heads": 2, "groups": 4}


def networks(*, size: int = SIZE, lmc: bool = True) -> dict[str, denoisers.Denoiser]:
    """The four denoisers, by stage."""
    sequences = UNet(out_channels=CODE_DIM, **UNET)
    images = UNet(out_channels=3, dims=2, condition_dim=CODE_DIM, **UNET)
    return {
        "motion": denoisers.Motion(sequences, length=LENGTH, lmc=lmc),
        "start": denoisers.Start(CodeMLP(width=16, num_blocks=1, time_width=8), code_dim=CODE_DIM),
        "transition": denoisers.Transition(sequences, length=BRIDGE),
        "first_frame": denoisers.FirstFrame(images, size=size),
    }


def random_params(shapes: Any, seed: int, scale: float = 0.1) -> Any:
    """Normal numbers of deviation `scale` in the shapes of a tree."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: (scale * random.standard_normal(leaf.shape)).astype(np.float32), shapes)


def write(
    folder: pathlib.Path, *, stages: tuple[str, ...] = tuple(denoisers.KINDS), size: int = SIZE, lmc: bool = True
) -> pathlib.Path:
    """Writes the animator and `stages` to folder/<stage>/; gives the folder."""
    sizes = {"size": size, "width": 1 / 64, "code_dim": CODE_DIM}
    params = random_params(api.shapes_of(Animator(**sizes)), seed=4, scale=1.0)
    weights.save_model(folder / "animator", {"animator": sizes}, {"animator": params})
    for seed, (name, denoiser) in enumerate(networks(size=size, lmc=lmc).items()):
        if name in stages:
            write_stage(folder / name, denoiser, seed=seed)
    return folder


def write_stage(folder: pathlib.Path, denoiser: denoisers.Denoiser, *, seed: int = 0) -> None:
    """Writes one finished stage. Codes have means near 1 and deviations near 0.01: a random denoiser strays far."""
    shapes = weights.shapes_of(denoiser.module, *denoisers.inputs_of(denoiser))
    about = {denoiser.stage: denoisers.describe(denoiser), "stride": STRIDE, "fps": FPS, "trained_steps": 0}
    weights.save_tree(folder / "statistics.npz", statistics())
    weights.save_model(folder, about, {denoiser.stage: random_params(shapes, seed)})


def statistics() -> dict[str, np.ndarray]:
    """The same for all stages, as one animator's codes have them."""
    random = np.random.default_rng(7)
    return {
        "mean": random.uniform(0.5, 1.5, CODE_DIM).astype(np.float32),
        "std": random.uniform(0.005, 0.015, CODE_DIM).astype(np.float32),
    }
