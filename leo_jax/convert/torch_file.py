"""Reads published weights (.pt/.pth/.tar, .safetensors, .npz) as nested mappings of NumPy arrays. Runs nothing in them."""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from leo_jax import files
from leo_jax.weights import load_tree

TORCH_SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")


def read(path: files.PathLike) -> dict[str, Any]:
    """The file's arrays under their names, nested as the file nests them; entries that are no arrays are left out.

    Raises:
        FileNotFoundError: no such file.
        ImportError: the suffix needs a package of the extra `convert`.
        ValueError: the suffix is unknown, the file is damaged, or the content is not weights alone.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    if path.suffix == ".npz":
        return load_tree(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    raise ValueError(f"{path}: suffix {path.suffix!r} is none of .npz, .safetensors, {', '.join(TORCH_SUFFIXES)}")


def _read_safetensors(path: pathlib.Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(f"reading {path} needs safetensors: pip install -e '.[convert]'") from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors ({error}): download it again") from error


def _read_torch(path: pathlib.Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"reading {path} needs PyTorch (CPU is enough): pip install -e '.[convert]'") from error
    try:
        # Training arguments stand in released files as a plain namespace; nothing else but tensors is let in.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; each means the same to the user
        raise ValueError(f"{path} cannot be read as weights alone ({type(error).__name__}: {error})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a mapping of names to tensors")
    return _arrays(content, torch.Tensor)


def _arrays(content: Mapping[str, Any], tensor: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, tensor):
            found[str(name)] = np.asarray(
                value.detach().float().numpy() if value.is_floating_point() else value.numpy()
            )
        elif isinstance(value, Mapping) and (nested := _arrays(value, tensor)):
            found[str(name)] = nested
    return found
