"""The seeded LIA checkpoint behind lia_64.npz: names and shapes from the key lists, values from `seeded`."""

import functools
import json
import pathlib

import numpy as np

from tests.goldens import seeded

HERE = pathlib.Path(__file__).parent
CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32}  # of the original, by resolution
BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(HERE / "lia_64.npz") as file:
        return dict(file)


def keys(network: str) -> dict[str, tuple[int, ...]]:
    """Names with their prefix → shapes, of 'gen' or 'dis'."""
    return {
        name: tuple(shape) for name, shape in json.loads((HERE / f"lia_64_{network}_keys.json").read_text()).items()
    }


def released_shapes(size: int, width: float = 1.0) -> dict[str, tuple[int, ...]]:
    """Names with their prefix → shapes of both networks of any size, by the original's plan; `keys` has those of 64 px.

    `width` multiplies all channels, as leo_jax's own networks do; the original knows 1 alone.
    """
    s, channels = int(512 * width), {r: int(c * width) for r, c in CHANNELS.items()}
    shapes: dict[str, tuple[int, ...]] = {}

    def styled(name: str, fan_in: int, out: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = (1, out, fan_in, kernel, kernel)
        shapes[f"{name}.modulation.weight"], shapes[f"{name}.modulation.bias"] = (fan_in, s), (fan_in,)

    def trunk(name: str) -> int:
        shapes[f"{name}.0.0.weight"], shapes[f"{name}.0.1.bias"] = (channels[size], 3, 1, 1), (1, channels[size], 1, 1)
        blocks = size.bit_length() - 3
        for i in range(1, blocks + 1):
            a, b = channels[size >> i - 1], channels[size >> i]
            shapes[f"{name}.{i}.conv1.0.weight"], shapes[f"{name}.{i}.conv1.1.bias"] = (a, a, 3, 3), (1, a, 1, 1)
            shapes[f"{name}.{i}.conv2.1.weight"], shapes[f"{name}.{i}.conv2.2.bias"] = (b, a, 3, 3), (1, b, 1, 1)
            shapes[f"{name}.{i}.skip.1.weight"] = (b, a, 1, 1)
            shapes[f"{name}.{i}.conv2.0.kernel"] = shapes[f"{name}.{i}.skip.0.kernel"] = (4, 4)
        return blocks

    last = trunk("gen.enc.net_app.convs") + 1
    shapes[f"gen.enc.net_app.convs.{last}.weight"] = (s, s, 4, 4)
    for i, out in enumerate((s, s, s, s, 20)):
        shapes[f"gen.enc.fc.{i}.weight"], shapes[f"gen.enc.fc.{i}.bias"] = (out, s), (out,)
    shapes["gen.dec.direction.weight"], shapes["gen.dec.input.input"] = (s, 20), (1, s, 4, 4)
    layers = [("conv1", 4, 4)] + [(f"convs.{2 * i + k}", 4 << i + k, 8 << i) for i in range(last - 1) for k in (0, 1)]
    for name, before, after in layers:
        styled(f"gen.dec.{name}.conv", channels[before], channels[after], 3)
        shapes[f"gen.dec.{name}.activate.bias"] = (1, channels[after], 1, 1)
        shapes[f"gen.dec.{name}.noise.weight"] = (1,)
        if before < after:
            shapes[f"gen.dec.{name}.conv.blur.kernel"] = (4, 4)
    for i in range(last - 1):
        flow, rgb = f"gen.dec.to_flows.{i}", f"gen.dec.to_rgbs.{i}"
        styled(f"{flow}.conv", channels[8 << i], 3, 1)
        shapes[f"{rgb}.conv.0.weight"], shapes[f"{rgb}.conv.1.bias"] = (3, channels[8 << i], 1, 1), (1, 3, 1, 1)
        for head in (flow, rgb):
            shapes[f"{head}.bias"], shapes[f"{head}.upsample.kernel"] = (1, 3, 1, 1), (4, 4)
    shapes["gen.dec.to_rgb1.conv.0.weight"] = (3, s, 1, 1)
    shapes["gen.dec.to_rgb1.conv.1.bias"] = shapes["gen.dec.to_rgb1.bias"] = (1, 3, 1, 1)

    trunk("dis.convs")
    shapes["dis.final_conv.0.weight"], shapes["dis.final_conv.1.bias"] = (s, s + 1, 3, 3), (1, s, 1, 1)
    shapes["dis.final_linear.0.weight"], shapes["dis.final_linear.0.bias"] = (s, 16 * s), (s,)
    shapes["dis.final_linear.1.weight"], shapes["dis.final_linear.1.bias"] = (1, s), (1,)
    return shapes


def state_dict() -> dict[str, dict[str, np.ndarray]]:
    """As a released file nests it: {'gen': …, 'dis': …} without prefixes."""
    return {
        network: {
            name.removeprefix(f"{network}."): BLUR if name.endswith("kernel") else seeded.lia_weight(name, shape, 0)
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
