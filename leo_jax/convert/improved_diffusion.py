"""U-Nets in improved-diffusion's published state dicts, 1-D or 2-D: the network they are of, and its parameters here."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.convert.rules import Rule, rename
from leo_jax.models.unet import UNet

# Place of a module in the published network, its name here, the name and layout of its weight. CONV is by dims.
CONV = "CONV"
TOP = [
    (r"time_embed\.0", "time_embed_0", "kernel", "linear"),
    (r"time_embed\.2", "time_embed_1", "kernel", "linear"),
    (r"label_emb", "label_embed", "embedding", "same"),
    (r"input_blocks\.0\.0", "input_0_0", "kernel", CONV),
    (r"out\.0", "out_norm", "scale", "same"),
    (r"out\.2", "out_conv", "kernel", CONV),
]
BLOCK = r"(input|middle|output)_block(?:s\.(\d+))?\.(\d+)\."
IN_BLOCK = [
    (r"in_layers\.0", "norm_in", "scale", "same"),
    (r"in_layers\.2", "conv_in", "kernel", CONV),
    (r"emb_layers\.1", "embed", "kernel", "linear"),
    (r"out_layers\.0", "norm_out", "scale", "same"),
    (r"out_layers\.3", "conv_out", "kernel", CONV),
    (r"skip_connection", "skip", "kernel", "pointwise"),
    (r"norm", "norm", "scale", "same"),
    (r"qkv", "qkv", "kernel", "pointwise"),
    (r"proj_out", "out", "kernel", "pointwise"),
    (r"(?:op|conv)", "conv", "kernel", CONV),  # of a resampling
]


def improved_diffusion(
    state_dict: Mapping[str, Any], *, dims: int = 1, num_heads: int = 4
) -> tuple[UNet, dict[str, Any]]:
    """Gives the U-Net a published state dict is of, and its parameters: `module.apply({"params": params}, x, t)`.

    Width, multipliers, blocks a level, attention, norm, resampling, classes and channels are read off names and shapes.
    x is channels last: (b, t, c) or (b, h, w, c). A network with learned variance gives twice x's channels, the noise first.

    Args:
      state_dict: names to arrays or PyTorch tensors, in PyTorch's layouts.
      dims: 1 for sequences, 2 for images.
      num_heads: attention heads, which no shape tells; it must divide the channels of every level with attention.

    Raises:
      ValueError: names or shapes that are not those of such a U-Net, the first of them listed; or num_heads, dims that
        do not fit it.
    """
    arrays = {name: _array(value) for name, value in state_dict.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    module = _infer(shapes, dims, num_heads)
    expected = _abstract(module, shapes["input_blocks.0.0.weight"][1])
    params, _ = rename(arrays, _rules(dims), expected, what="an improved-diffusion U-Net")
    return module, jax.tree.map(jnp.asarray, params)


def _array(value: Any) -> np.ndarray:
    """A tensor or array as float32 NumPy, without importing PyTorch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, np.float32)


def _rules(dims: int) -> list[Rule]:
    def rules(prefix, table, path):
        for place, module, weight, layout in table:
            layout = {1: "conv1d", 2: "conv"}[dims] if layout == CONV else layout
            yield Rule(rf"{prefix}{place}\.weight", path(module, weight), layout)
            yield Rule(rf"{prefix}{place}\.bias", path(module, "bias"))

    def in_block(module, leaf):
        return lambda match: "/".join(["_".join(filter(None, match.groups())), module, leaf])

    return [*rules("", TOP, lambda module, leaf: f"{module}/{leaf}"), *rules(BLOCK, IN_BLOCK, in_block)]


def _abstract(module: UNet, channels: int) -> Any:
    """The parameters' shapes, without making any."""
    size = (2 ** (len(module.multipliers) - 1),) * module.dims
    x = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    index = jax.ShapeDtypeStruct((1,), jnp.int32)
    labels = None if module.num_classes is None else index
    return jax.eval_shape(module.init, jax.random.key(0), x, index, labels=labels)["params"]


def _infer(shapes: Mapping[str, tuple[int, ...]], dims: int, num_heads: int) -> UNet:
    """The network whose names and shapes these are."""
    needed = [
        f"{name}.weight" for name in ("time_embed.0", "input_blocks.0.0", "input_blocks.1.0.in_layers.2", "out.2")
    ]
    missing = [name for name in needed if name not in shapes]
    if missing:
        others = ", ".join([name for name in shapes if name not in needed][:3]) or "nothing"
        raise ValueError(
            f"not an improved-diffusion U-Net: {', '.join(missing)} missing; the state dict has {others}. "
            "Pass the U-Net's own state dict, its names without a prefix."
        )
    if dims not in (1, 2) or len(shapes["input_blocks.0.0.weight"]) != dims + 2:
        found = len(shapes["input_blocks.0.0.weight"]) - 2
        raise ValueError(f"dims is {dims}, but the state dict's convolutions are {found}-D: pass dims={found} (1 or 2)")

    width = shapes["time_embed.0.weight"][1]
    levels: list[list[int]] = [[]]  # of channels, one entry a block
    attention, conv_resample = set(), True
    numbers = [int(m[1]) for m in (re.match(r"input_blocks\.(\d+)\.", name) for name in shapes) if m]
    for i in range(1, max(numbers) + 1):
        weight = f"input_blocks.{i}.0.in_layers.2.weight"
        if weight in shapes:
            levels[-1].append(shapes[weight][0])
            if f"input_blocks.{i}.1.qkv.weight" in shapes:
                attention.add(2 ** (len(levels) - 1))
        else:
            # Not a residual block: it halves. Without a convolution it has no parameters, hence no name.
            conv_resample = f"input_blocks.{i}.0.op.weight" in shapes
            levels.append([])
    blocks = Counter(len(level) for level in levels)
    odd = [level for level in levels if len(set(level)) != 1 or level[0] % width]
    if len(blocks) != 1 or odd:
        raise ValueError(
            f"the levels' blocks have channels {levels}: each level must have as many, of one multiple of {width}"
        )

    channels = [level[0] for level in levels]
    attending = {channels[-1], *(c for i, c in enumerate(channels) if 2**i in attention)}
    if num_heads < 1 or any(c % num_heads for c in attending):
        raise ValueError(f"num_heads is {num_heads}; it must divide the attending levels' channels {sorted(attending)}")
    return UNet(
        out_channels=shapes["out.2.weight"][0],
        dims=dims,
        width=width,
        multipliers=tuple(c // width for c in channels),
        num_blocks=len(levels[0]),
        attention=tuple(sorted(attention)),
        num_heads=num_heads,
        scale_shift=shapes.get("input_blocks.1.0.emb_layers.1.weight", (0,))[0] == 2 * channels[0],
        conv_resample=conv_resample,
        num_classes=shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None,
    )
