"""torchvision's VGG19 weights → the tree of `models.frozen.vgg19.VGG19`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from leo_jax import files, weights
from leo_jax.convert.rules import Rule, rename
from leo_jax.models.frozen.vgg19 import STAGES, VGG19
from leo_jax.weights import shapes_of

WHERE = (
    "VGG19's ImageNet weights are torchvision's file vgg19-dcbb9e9d.pth: download it (torchvision's "
    "VGG19_Weights.IMAGENET1K_V1 names the address), then\n"
    "  leo convert vgg19 --checkpoint vgg19-dcbb9e9d.pth --out vgg19.npz"
)


def _names() -> dict[int, str]:
    """Torchvision's index of each convolution in `features` → our name."""
    names, index = {}, 0
    for stage, widths in enumerate(STAGES, 1):
        for i in range(1, len(widths) + 1):
            names[index] = f"conv{stage}_{i}"
            index += 2  # convolution, ReLU
        index += 1  # pool
    return names


def vgg19(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters for `VGG19().apply({'params': …}, x)`. Layers after conv5_1 and the classifier are left out.

    Raises:
        ValueError: a name or shape does not fit.
    """
    names = _names()
    places = "|".join(str(i) for i in names)

    def place(leaf: str) -> Any:
        return lambda match: f"{names[int(match[1])]}_{leaf}"

    rules = [
        Rule(rf"features\.({places})\.weight", place("kernel"), "conv"),
        Rule(rf"features\.({places})\.bias", place("bias"), "vector"),
        Rule(r"features\.(30|32|34)\.(weight|bias)|classifier\..*", None),
    ]
    return rename(state_dict, rules, _shapes(), what="torchvision's VGG19")[0]


def load(path: files.PathLike) -> dict[str, Any]:
    """Converted weights (`leo convert vgg19`) from `path`; raises FileNotFoundError or ValueError saying where to get them."""
    return weights.load_frozen(path, _shapes(), kind="VGG19", network="VGG19", where=WHERE)


def _shapes() -> dict[str, Any]:
    return shapes_of(VGG19(), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
