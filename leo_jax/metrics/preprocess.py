"""From decoded frames to I3D's input, step by step as the protocols do it."""

import math

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real, UInt8

from leo_jax.metrics.protocols import Protocol
from leo_jax.models.frozen.i3d import SIZE
from leo_jax.ops.resample import by_matrices


def prepare(frames: Real[np.ndarray, "t h w 3"], protocol: Protocol) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """Crops, resizes and rounds frames in 0–255 as the protocol asks of both sides."""
    if protocol.resolution is not None:
        frames = centre_square(frames, protocol.resolution)
    return round_to_uint8(frames, protocol.rounding)


def centre_square(frames: Real[np.ndarray, "t h w 3"], size: int) -> Real[np.ndarray, "t size size 3"]:
    """The centred square of the frames, resized to `size` (bilinear, half-pixel centres, no antialias).

    Frames that have the size already are returned as they are; else float32, not rounded.
    """
    _, h, w, _ = frames.shape
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    frames = frames[:, top : top + side, left : left + side]
    if side == size:
        return frames
    resized = [cv2.resize(f.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) for f in frames]
    return np.stack(resized)


def round_to_uint8(frames: Real[np.ndarray, "*shape"], rounding: str) -> UInt8[np.ndarray, "*shape"]:
    """Values in 0–255 as uint8; what lies outside is clamped."""
    if frames.dtype == np.uint8:
        return frames
    return np.clip(np.floor(frames + 0.5) if rounding == "nearest" else frames, 0, 255).astype(np.uint8)


def to_network(frames: UInt8[Array, "b t h w 3"], resize: str, size: int = SIZE) -> Float[Array, "b t size size 3"]:
    """The network's input in [-1, 1], resized as `resize` (a key of protocols.RESIZES) says. Runs inside jit.

    A bilinear resize is a product with one small matrix along each axis, which suits any accelerator.
    """
    b, t, h, w, _ = frames.shape
    x = frames.astype(jnp.float32).reshape(b * t, h, w, 3) / 127.5 - 1
    return by_matrices(x, *resize_matrices(h, w, resize, size)).reshape(b, t, size, size, 3)


def resize_matrices(
    h: int, w: int, resize: str, size: int
) -> tuple[Float[np.ndarray, "size h"], Float[np.ndarray, "size w"]]:
    """The matrices that resize and crop columns and rows to `size`."""
    if resize != "short side":
        half_pixel = resize == "stretch"
        return bilinear(h, size, half_pixel), bilinear(w, size, half_pixel)
    scale = size / min(h, w)
    sizes = (size, math.ceil(w * scale)) if h < w else (math.ceil(h * scale), size)
    starts = [(full - size) // 2 for full in sizes]
    down, across = (bilinear(n, full)[start:][:size] for n, full, start in zip((h, w), sizes, starts, strict=True))
    return down, across


def bilinear(source: int, target: int, half_pixel: bool = True) -> Float[np.ndarray, "target source"]:
    """Rows of weights that resize a line of `source` samples to `target`, linearly, without antialias.

    With `half_pixel` sample i lies at i + ½ (PyTorch's align_corners=False); without, at i (TensorFlow 1's default).
    """
    # PyTorch and TensorFlow round the scale and then each position to float32: it shifts weights by up to 1e-5.
    scale, shift = float(np.float32(source / target)), 0.5 if half_pixel else 0.0
    position = np.maximum((np.arange(target) + shift) * scale - shift, 0).astype(np.float32)
    low = np.minimum(position.astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    part = position - low
    weights = np.zeros((target, source), np.float32)
    np.add.at(weights, (np.arange(target), low), 1 - part)
    np.add.at(weights, (np.arange(target), high), part)
    return weights
