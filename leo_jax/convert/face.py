"""FaceNet's published PyTorch weights → the tree of `models.frozen.face.FaceNet`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from leo_jax import files, weights
from leo_jax.convert.rules import Rule, rename
from leo_jax.models.frozen.face import FaceNet
from leo_jax.weights import shapes_of

WHERE = (
    "ACD of faces needs FaceNet's VGGFace2 weights, facenet-pytorch's file 20180402-114759-vggface2.pt (its README links "
    "it), then\n  leo convert face --checkpoint 20180402-114759-vggface2.pt --out face.npz"
)
LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def face(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters for `FaceNet().apply({'params': …}, x)`. The classifier (`logits.*`) is left out.

    Raises:
        ValueError: a name or shape does not fit.
    """
    layer = r"(\w+?)(?:\.(\d+))?(?:\.(branch\d))?(?:\.(\d+))?"

    def place(leaf: str) -> Any:
        def name(match: Any) -> str:
            block, number, branch, index = match.groups()
            parts = [
                f"{block}_{number}" if number else block,
                *([f"{branch}_{index}" if index else branch] if branch else []),
            ]
            return "/".join([*parts, leaf])

        return name

    rules = [
        Rule(r"logits\.(weight|bias)|.*\.num_batches_tracked", None),
        Rule(r"last_linear\.weight", "last/kernel", "linear"),
        *(Rule(rf"last_bn\.{theirs}", f"last/{ours}", "vector") for theirs, ours in LEAVES.items()),
        Rule(rf"{layer}\.conv2d\.weight", place("kernel"), "conv"),
        Rule(rf"{layer}\.conv2d\.bias", place("bias"), "vector"),
        Rule(rf"{layer}\.conv\.weight", place("kernel"), "conv"),
        *(Rule(rf"{layer}\.bn\.{theirs}", place(ours), "vector") for theirs, ours in LEAVES.items()),
    ]
    return rename(state_dict, rules, _shapes(), what="facenet-pytorch's InceptionResnetV1")[0]


def load(path: files.PathLike | None) -> dict[str, Any]:
    """Converted weights from `path`; raises FileNotFoundError or ValueError saying where to get them."""
    return weights.load_frozen(path, _shapes(), kind="face", network="FaceNet", where=WHERE)


def _shapes() -> dict[str, Any]:
    return shapes_of(FaceNet(), jax.ShapeDtypeStruct((1, 128, 128, 3), np.float32))
