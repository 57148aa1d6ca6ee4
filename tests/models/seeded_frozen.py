"""State dicts of the published scoring networks, drawn from their names: what goldens/metrics/frozen_seeded.npz was made with.

frozen_keys.json lists names and shapes as PyTorch's state_dict() gives them (facenet-pytorch 2.6.0's InceptionResnetV1,
torchvision's ResNet-50 inside a module with the attribute `model`, lpips 0.1.4's LPIPS without its doubled entries).
The outputs are those networks' own, in float64.
"""

import json
import pathlib

import numpy as np

from tests.goldens.seeded import tensor

FOLDER = pathlib.Path(__file__).parents[1] / "goldens" / "metrics"
GOLDEN = np.load(FOLDER / "frozen_seeded.npz")
KEYS = json.loads((FOLDER / "frozen_keys.json").read_text())


def state_dict(network: str) -> dict[str, np.ndarray]:
    """Names to arrays of "face", "reid" or "lpips"."""
    return {name: weight(network, name, tuple(shape)) for name, shape in KEYS[network].items()}


def weight(network, name, shape):
    if name.endswith("num_batches_tracked"):
        return np.int64(0)
    x = tensor(f"{network}.{name}", shape)
    if name.endswith("running_var"):
        return np.abs(x) + np.float32(0.5)
    if name.endswith(("running_mean", "bias")):
        return np.float32(0.05) * x
    if name.startswith("lin"):
        return np.float32(0.1) * np.abs(x)
    if len(shape) == 1:
        return 1 + np.float32(0.1) * x
    return (x * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def bytes_image(name, shape):
    """A smooth image rounded to 256 levels, in [-1, 1]."""
    from tests.goldens.seeded import image

    return (np.round((image(name, shape) + 1) * 127.5) / 127.5 - 1).astype(np.float32)
