"""The seeded LIA checkpoint behind lia_64.npz: names and shapes from the key lists, values from `seeded`."""

import functools
import json
import pathlib

import numpy as np

from tests.goldens import seeded

HERE = pathlib.Path(__file__).parent


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(HERE / "lia_64.npz") as file:
        return dict(file)


def keys(network: str) -> dict[str, tuple[int, ...]]:
    """Names with their prefix → shapes, of 'gen' or 'dis'."""
    return {
        name: tuple(shape) for name, shape in json.loads((HERE / f"lia_64_{network}_keys.json").read_text()).items()
    }


def state_dict() -> dict[str, dict[str, np.ndarray]]:
    """As a released file nests it: {'gen': …, 'dis': …} without prefixes."""
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
    return {
        network: {
            name.removeprefix(f"{network}."): blur if name.endswith("kernel") else seeded.lia_weight(name, shape, 0)
            for name, shape in keys(network).items()
        }
        for network in ("gen", "dis")
    }


def vgg_state_dict() -> dict[str, np.ndarray]:
    """torchvision's VGG19 up to conv5_1, seeded."""
    state, index, fan_in = {}, 0, 3
    for widths in ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,)):
        for width in widths:
            for leaf, shape in (("weight", (width, fan_in, 3, 3)), ("bias", (width,))):
                name = f"features.{index}.{leaf}"
                state[name] = seeded.vgg_weight(name, shape)
            index, fan_in = index + 2, width
        index += 1
    return state


def image(name: str) -> np.ndarray:
    return seeded.image(name, (2, 64, 64, 3), 0)


def relative_error(value: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference over largest absolute value."""
    value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
    assert value.shape == expected.shape, f"shape {value.shape}, golden {expected.shape}"
    return float(np.max(np.abs(value - expected)) / np.max(np.abs(expected)))
