"""Released LIA checkpoints → a model directory that `leo_jax.load` opens (SPEC §1)."""

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from leo_jax import files, weights
from leo_jax.convert.rules import Arrays, Rule, rename
from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.models.layers import SMALLEST, WIDTHS
from leo_jax.ops.resample import KERNEL

WHERE = (
    "LIA's authors link their checkpoints (vox.pt, taichi.pt, ted.pt) in the README of github.com/wyhsirius/LIA: download one, "
    "then\n  leo convert lia --checkpoint vox.pt --out models/vox"
)


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion found: the model's directory and sizes, and the names of the file that nothing uses."""

    directory: pathlib.Path
    size: int
    width: float
    code_dim: int
    parameters: int
    discriminator: bool
    unused: tuple[str, ...]


def _trunk(prefix: str, target: str, size: int) -> list[Rule]:
    """Rules of a residual trunk: `convs.0` is the 1×1 convolution, `convs.i` the block that ends at size / 2^i px."""

    def block(match: re.Match[str]) -> str:
        part, leaf = match[2], "bias" if match[4] == "bias" else "kernel"
        return f"{target}/block_{size >> int(match[1])}/{part}/{leaf}"

    return [
        Rule(rf"{prefix}\.0\.0\.weight", f"{target}/from_rgb/kernel", "conv"),
        Rule(rf"{prefix}\.0\.1\.bias", f"{target}/from_rgb/bias", "vector"),
        Rule(rf"{prefix}\.(\d+)\.(conv1|conv2|skip)\.(\d+)\.(weight)", block, "conv"),
        Rule(rf"{prefix}\.(\d+)\.(conv1|conv2|skip)\.(\d+)\.(bias)", block, "vector"),
    ]


def animator_rules(size: int) -> list[Rule]:
    """Names of a released generator state dict (`enc.…`, `dec.…`) → our Animator's, for an animator of `size` px."""
    last = (size // SMALLEST).bit_length()  # index of the 4×4 convolution after the blocks

    def styled(match: re.Match[str]) -> str:
        index = int(match[1])
        return f"generator/{'up' if index % 2 == 0 else 'conv'}_{8 << index // 2}"

    def head(name: str, leaf: str) -> Any:
        return lambda match: f"generator/to_{name}_{8 << int(match[1])}/{leaf}"

    convs, flows, rgbs = r"dec\.convs\.(\d+)", r"dec\.to_flows\.(\d+)", r"dec\.to_rgbs\.(\d+)"
    return [
        Rule(r".*\.kernel", None),  # the blur: a constant
        Rule(r"dec\..*noise\.weight|dec\.to_rgb1\..*", None),  # parameters that the original's forward pass never uses
        Rule(rf"enc\.net_app\.convs\.{last}\.weight", "encoder/to_style/kernel", "conv"),
        *_trunk(r"enc\.net_app\.convs", "encoder/trunk", size),
        Rule(r"enc\.fc\.(\d+)\.weight", r"code_head/linear_\1/kernel", "linear"),
        Rule(r"enc\.fc\.(\d+)\.bias", r"code_head/linear_\1/bias", "vector"),
        Rule(r"dec\.direction\.weight", "directions"),
        Rule(r"dec\.input\.input", "generator/constant", "image"),
        Rule(r"dec\.conv1\.conv\.weight", "generator/conv_4/conv/kernel", "shared conv"),
        Rule(r"dec\.conv1\.conv\.modulation\.weight", "generator/conv_4/conv/modulation/kernel", "linear"),
        Rule(r"dec\.conv1\.conv\.modulation\.bias", "generator/conv_4/conv/modulation/bias", "vector"),
        Rule(r"dec\.conv1\.activate\.bias", "generator/conv_4/bias", "vector"),
        Rule(rf"{convs}\.conv\.weight", lambda m: styled(m) + "/conv/kernel", "shared conv"),
        Rule(rf"{convs}\.conv\.modulation\.weight", lambda m: styled(m) + "/conv/modulation/kernel", "linear"),
        Rule(rf"{convs}\.conv\.modulation\.bias", lambda m: styled(m) + "/conv/modulation/bias", "vector"),
        Rule(rf"{convs}\.activate\.bias", lambda m: styled(m) + "/bias", "vector"),
        Rule(rf"{flows}\.conv\.weight", head("flow", "conv/kernel"), "shared conv"),
        Rule(rf"{flows}\.conv\.modulation\.weight", head("flow", "conv/modulation/kernel"), "linear"),
        Rule(rf"{flows}\.conv\.modulation\.bias", head("flow", "conv/modulation/bias"), "vector"),
        Rule(rf"{flows}\.bias", head("flow", "bias"), "vector"),
        Rule(rf"{rgbs}\.conv\.0\.weight", head("rgb", "kernel"), "conv"),
        Rule(rf"{rgbs}\.conv\.1\.bias", head("rgb", "bias"), "vector"),
        Rule(rf"{rgbs}\.bias", head("rgb", "output_bias"), "vector"),
    ]


def discriminator_rules(size: int) -> list[Rule]:
    """Names of a released discriminator state dict → our Discriminator's."""
    return [
        Rule(r".*\.kernel", None),
        *_trunk("convs", "trunk", size),
        Rule(r"final_conv\.0\.weight", "conv/kernel", "conv"),
        Rule(r"final_conv\.1\.bias", "conv/bias", "vector"),
        Rule(r"final_linear\.0\.weight", "linear/kernel", "linear"),
        Rule(r"final_linear\.0\.bias", "linear/bias", "vector"),
        Rule(r"final_linear\.1\.weight", "logit/kernel", "linear"),
        Rule(r"final_linear\.1\.bias", "logit/bias", "vector"),
    ]


def split_networks(state: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(generator, discriminator) arrays of a checkpoint, nested under 'gen' and 'dis', prefixed so, or a bare generator.

    Optimiser states and `module.` prefixes of data-parallel wrappers are dropped.
    """
    flat: dict[str, np.ndarray] = {}

    def walk(mapping: Mapping[str, Any], prefix: str) -> None:
        for name, value in mapping.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{name}.")
            else:
                flat[f"{prefix}{name}"] = value

    walk(state, "")
    networks: dict[str, dict[str, np.ndarray]] = {"gen": {}, "dis": {}}
    for name, value in flat.items():
        head, _, rest = name.partition(".")
        if head in ("g_optim", "d_optim", "args"):
            continue
        network, rest = (head, rest) if head in networks else ("gen", name)
        networks[network][rest.removeprefix("module.")] = value
    return networks["gen"], networks["dis"]


def sizes_of(generator: Arrays) -> tuple[int, float, int]:
    """(size in px, width multiplier, code width) of a generator's state dict, from its names and shapes."""
    last = [int(m[1]) for name in generator if (m := re.fullmatch(r"enc\.net_app\.convs\.(\d+)\.weight", name))]
    direction = generator.get("dec.direction.weight")
    if len(last) != 1 or direction is None or np.ndim(direction) != 2 or 2 * SMALLEST > SMALLEST << (last[0] - 1):
        listed = "\n  ".join(f"{name} {np.shape(value)}" for name, value in list(generator.items())[:8]) or "(nothing)"
        raise ValueError(
            "this is not a LIA generator: neither one 'enc.net_app.convs.N.weight' nor a (s, d) 'dec.direction.weight' "
            f"says its size. The file's first names:\n  {listed}"
        )
    size = SMALLEST << (last[0] - 1)
    if size not in WIDTHS:
        raise ValueError(f"this LIA generator is of {size} px; sizes up to {max(WIDTHS)} px are known")
    style_dim, code_dim = np.shape(direction)
    return size, style_dim / 512, code_dim


def _warn_of_other_blur(state: Arrays) -> None:
    kernel = np.outer(KERNEL, KERNEL)
    for name, value in state.items():
        total = np.sum(value) if name.endswith(".kernel") else 0
        if total and not np.allclose(np.asarray(value) / total, kernel, atol=1e-5):
            warnings.warn(
                f"{name} is not the blur [1, 3, 3, 1] that leo_jax applies: pictures will differ", stacklevel=3
            )


def lia(state_dict: Mapping[str, Any], out_dir: files.PathLike) -> Converted:
    """Converts a LIA state dict and writes it to `out_dir` as a model that `leo_jax.load` opens.

    Args:
        state_dict: name → array (PyTorch layouts); nested under 'gen' and, if present, 'dis' as in a released file, or
            flat with those prefixes, or the bare generator.
        out_dir: directory to make, or that of a model to replace. Written only after everything fits; model.json comes last.

    Raises:
        ValueError: the first names and shapes that do not fit, or arrays that are not finite; `out_dir` is a file.
    """
    if pathlib.Path(out_dir).is_file():
        raise ValueError(f"{out_dir} is a file, and a converted animator is a folder of several: name a folder")
    generator, discriminator = split_networks(state_dict)
    size, width, code_dim = sizes_of(generator)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    what = f"a LIA generator of {size} px"
    module = Animator(size, width, code_dim)
    params, unused = rename(generator, animator_rules(size), weights.shapes_of(module, image, image), what=what)
    parts = {"animator": params}
    if discriminator:
        expected = weights.shapes_of(Discriminator(size, width), image)
        parts["discriminator"], _ = rename(
            discriminator, discriminator_rules(size), expected, what=f"its {size} px discriminator"
        )
    _warn_of_other_blur(generator)
    unused = [name for name in unused if not name.endswith(".kernel")]
    sizes = {"size": size, "width": width, "code_dim": code_dim}
    about = {"animator": sizes, "converted_from": "LIA", "unused": unused}
    weights.save_model(out_dir, about, parts, without=() if discriminator else ("discriminator",))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Converted(
        pathlib.Path(out_dir),
        size,
        width,
        code_dim,
        parameters=count,
        discriminator=bool(discriminator),
        unused=tuple(unused),
    )
