"""Published Market-1501 ResNet-50 weights → the tree of `models.frozen.reid.ReID`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from leo_jax import files, weights
from leo_jax.convert.rules import Rule, rename
from leo_jax.models.frozen.reid import ReID
from leo_jax.weights import shapes_of

WHERE = (
    "ACD of bodies needs a ResNet-50 trained for person re-identification on Market-1501: reid_model.pth, which "
    "pose-evaluation's README links (layumi's Person_reID_baseline_pytorch), or torchreid's resnet50; then\n"
    "  leo convert reid --checkpoint reid_model.pth --out reid.npz"
)
LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def reid(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for `ReID().apply({'params': …}, x)`. Classifiers are left out.

    Args:
        state_dict: of layumi's `ft_net` (names start with `model.`) or torchreid's `resnet50`, as it is or under the
            entry 'state_dict', with or without `module.` before all names.

    Raises:
        ValueError: a name or shape does not fit.
    """
    state_dict = state_dict.get("state_dict", state_dict)
    front = r"(?:module\.)?(?:model\.)?"
    block = rf"{front}layer(\d)\.(\d+)"
    rules = [
        Rule(rf"{front}(fc|classifier)\..*|.*\.num_batches_tracked", None),
        Rule(rf"{front}conv1\.weight", "stem/kernel", "conv"),
        Rule(rf"{block}\.conv(\d)\.weight", r"layer\1_\2/conv\3/kernel", "conv"),
        Rule(rf"{block}\.downsample\.0\.weight", r"layer\1_\2/skip/kernel", "conv"),
    ]
    for theirs, ours in LEAVES.items():
        rules += [
            Rule(rf"{front}bn1\.{theirs}", f"stem/{ours}", "vector"),
            Rule(rf"{block}\.bn(\d)\.{theirs}", rf"layer\1_\2/conv\3/{ours}", "vector"),
            Rule(rf"{block}\.downsample\.1\.{theirs}", rf"layer\1_\2/skip/{ours}", "vector"),
        ]
    return rename(state_dict, rules, _shapes(), what="a re-identification ResNet-50")[0]


def load(path: files.PathLike | None) -> dict[str, Any]:
    """Converted weights from `path`; raises FileNotFoundError or ValueError saying where to get them."""
    return weights.load_frozen(
        path, _shapes(), kind="re-identification", network="the re-identification ResNet-50", where=WHERE
    )


def _shapes() -> dict[str, Any]:
    return shapes_of(ReID(), jax.ShapeDtypeStruct((1, 288, 144, 3), np.float32))
