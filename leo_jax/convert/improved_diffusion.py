"""U-Nets in improved-diffusion's published state dicts, 1-D or 2-D: the network they are of, and its parameters here."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.models.unet import UNet

# Our module within a block, and the place of its weights in the published block.
PLACES = {
    "norm_in": "in_layers.0",
    "conv_in": "in_layers.2",
    "embed": "emb_layers.1",
    "norm_out": "out_layers.0",
    "conv_out": "out_layers.3",
    "skip": "skip_connection",
    "norm": "norm",
    "qkv": "qkv",
    "out": "proj_out",
}
TOP = {
    "time_embed_0": "time_embed.0",
    "time_embed_1": "time_embed.2",
    "label_embed": "label_emb",
    "input_0_0": "input_blocks.0.0",
    "out_norm": "out.0",
    "out_conv": "out.2",
}
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}


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
    shapes = {name: tuple(value.shape) for name, value in state_dict.items()}
    module = _infer(shapes, dims, num_heads)
    places = {}  # published name: (path here, shape here)
    for path, leaf in jax.tree_util.tree_leaves_with_path(_abstract(module, shapes)):
        names = [entry.key for entry in path]
        places[_published(names, module.dims)] = (names, leaf.shape)

    _require_fit(places, shapes, module.dims)
    params: dict[str, Any] = {}
    for name, (names, shape) in places.items():
        node = params
        for part in names[:-1]:
            node = node.setdefault(part, {})
        node[names[-1]] = jnp.asarray(_to_ours(_array(state_dict[name]), names[-1]).reshape(shape))
    return module, params


def _abstract(module: UNet, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """The parameters' shapes, without making any."""
    size = (2 ** (len(module.multipliers) - 1),) * module.dims
    x = jax.ShapeDtypeStruct((1, *size, shapes["input_blocks.0.0.weight"][1]), jnp.float32)
    index = jax.ShapeDtypeStruct((1,), jnp.int32)
    labels = None if module.num_classes is None else index
    init = jax.eval_shape(lambda key, *a, **k: module.init(key, *a, **k), jax.random.key(0), x, index, labels=labels)
    return init["params"]


def _published(names: list[str], dims: int) -> str:
    """The published name of the parameter at a path here."""
    *modules, leaf = names
    if modules[0] in TOP:
        return f"{TOP[modules[0]]}.{LEAVES[leaf]}"
    kind, *numbers = modules[0].split("_")
    if modules[1] == "conv":  # of a resampling: downsampling calls it op
        place = "op" if kind == "input" else "conv"
    else:
        place = PLACES[modules[1]]
    block = "middle_block" if kind == "middle" else f"{kind}_blocks"
    return ".".join([block, *numbers, place, LEAVES[leaf]])


def _to_ours(value: np.ndarray, leaf: str) -> np.ndarray:
    """From PyTorch's (out, in, taps...) to (taps..., in, out); embeddings (classes, size) and vectors stay."""
    if leaf != "kernel":
        return value
    return value.transpose(*range(2, value.ndim), 1, 0)


def _array(value: Any) -> np.ndarray:
    """A tensor or array as float32 NumPy, without importing PyTorch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, np.float32)


def _theirs(names: list[str], shape: tuple[int, ...], dims: int) -> tuple[int, ...]:
    """The shape in the published layout of a parameter with `shape` here."""
    if names[-1] != "kernel":
        return shape
    # Three of our linear layers are convolutions of one tap there; attention's are 1-D in images too.
    taps = {"skip": (1,) * dims, "qkv": (1,), "out": (1,)}.get(names[-2], shape[:-2])
    return (shape[-1], shape[-2], *taps)


def _require_fit(places: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dims: int) -> None:
    wrong = [f"{name} is missing" for name in places if name not in shapes]
    wrong += [f"{name} has no place" for name in shapes if name not in places]
    for name, (names, shape) in places.items():
        want = _theirs(names, shape, dims)
        if name in shapes and shapes[name] != want:
            wrong.append(f"{name} has shape {shapes[name]}, {want} is needed")
    if wrong:
        raise ValueError(f"{len(wrong)} entries do not fit an improved-diffusion U-Net: {_first(wrong)}")


def _first(items: list[str], number: int = 5) -> str:
    return "; ".join(items[:number]) + (f"; and {len(items) - number} more" if len(items) > number else "")


def _infer(shapes: Mapping[str, tuple[int, ...]], dims: int, num_heads: int) -> UNet:
    """The network whose names and shapes these are."""
    needed = [
        f"{name}.weight" for name in ("time_embed.0", "input_blocks.0.0", "input_blocks.1.0.in_layers.2", "out.2")
    ]
    missing = [name for name in needed if name not in shapes]
    if missing:
        others = _first([name for name in shapes if name not in needed], 3) or "nothing"
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
