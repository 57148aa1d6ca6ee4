"""The four denoisers at sizes that compile in a second or two."""

import numpy as np

from leo_jax.denoisers import FirstFrame, Motion, Start, Transition
from leo_jax.models.code_mlp import CodeMLP
from leo_jax.models.unet import UNet

DIM, LENGTH, SIZE = 2, 8, 8
SMALL = {"width": 8, "multipliers": (1,), "num_blocks": 1, "attention": (), "num_heads": 2, "groups": 4}


def motion(**changes):
    return Motion(UNet(out_channels=DIM, **SMALL), length=LENGTH, **changes)


def transition():
    return Transition(UNet(out_channels=DIM, **SMALL), length=LENGTH)


def start():
    return Start(CodeMLP(width=32, num_blocks=1, time_width=16), code_dim=DIM)


def first_frame():
    return FirstFrame(UNet(out_channels=3, dims=2, condition_dim=DIM, **SMALL), size=SIZE)


ALL = {
    "motion": motion(),
    "without LMC": motion(lmc=False),
    "start": start(),
    "transition": transition(),
    "first_frame": first_frame(),
}


def toy_batch(denoiser, rng, count):
    """Circles of codes, and pictures whose brightness is the first code: easy to learn, and no two alike."""
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, np.pi, LENGTH)[None]
    codes = np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    if denoiser.stage in ("motion", "transition"):
        return {"codes": codes}
    if denoiser.stage == "start":
        return {"codes": codes[:, 0]}
    grey = np.round(codes[:, 0, :1, None, None] * 100 + 128).astype(np.uint8)
    return {"codes": codes[:, 0], "images": np.broadcast_to(grey, (count, SIZE, SIZE, 3)).copy()}
