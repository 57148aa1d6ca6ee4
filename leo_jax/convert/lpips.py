"""AlexNet's and LPIPS' published weights → the tree of `models.frozen.alexnet.LPIPS`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from leo_jax import files, weights
from leo_jax.convert.rules import Rule, rename
from leo_jax.models.frozen.alexnet import LPIPS
from leo_jax.weights import shapes_of

WHERE = (
    "LPIPS needs two files: torchvision's AlexNet, alexnet-owt-7be5be79.pth (AlexNet_Weights.IMAGENET1K_V1 names the "
    "address), and LPIPS' own linear weights v0.1, alex.pth (in the PyPI package lpips, weights/v0.1); then\n"
    "  leo convert lpips --checkpoint alexnet-owt-7be5be79.pth --linear alex.pth --out lpips.npz"
)
CONVOLUTIONS = {"0": 0, "3": 1, "6": 2, "8": 3, "10": 4}  # torchvision's index in `features` → ours


def lpips(alexnet: Mapping[str, np.ndarray], linear: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """The parameters for `LPIPS().apply({'params': …}, a, b)`.

    Args:
        alexnet: torchvision's state dict, or that of an entire LPIPS module.
        linear: the state dict in LPIPS' alex.pth; not needed with an entire LPIPS module.

    Raises:
        ValueError: a name or shape does not fit.
    """
    places = "|".join(CONVOLUTIONS)

    def place(leaf: str) -> Any:
        return lambda match: f"conv{CONVOLUTIONS[match[1]]}_{leaf}"

    rules = [
        Rule(rf"(?:features|net\.slice\d)\.({places})\.weight", place("kernel"), "conv"),
        Rule(rf"(?:features|net\.slice\d)\.({places})\.bias", place("bias"), "vector"),
        Rule(r"lin(\d)\.model\.\d\.weight", r"lin\1", "vector"),
        Rule(r"classifier\..*|lins\..*|scaling_layer\..*", None),
    ]
    return rename({**alexnet, **(linear or {})}, rules, _shapes(), what="AlexNet with LPIPS' linear weights")[0]


def load(path: files.PathLike | None) -> dict[str, Any]:
    """Converted weights from `path`; raises FileNotFoundError or ValueError saying where to get them."""
    return weights.load_frozen(path, _shapes(), kind="LPIPS", network="LPIPS", where=WHERE)


def _shapes() -> dict[str, Any]:
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    return shapes_of(LPIPS(), image, image)
