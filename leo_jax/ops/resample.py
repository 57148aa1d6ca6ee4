"""Resampling with the animator's blur kernel [1, 3, 3, 1] / 8, and the image pyramid of its losses.

Written as sums of shifted slices or as small matrix products: depthwise convolutions, which the originals use, are slow on
most backends. Not on a TPU, which would read a large map from memory once for each slice: there the blur is one. Two-fold
resampling works on the even and odd samples apart (polyphase), so no inserted zero is ever multiplied. Arrays are
(b, h, w, c).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from leo_jax.ops.platforms import Form, by_platform

KERNEL = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def pad(x: Array, axis: int, before: int, after: int) -> Array:
    """Zero-pads one axis."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    return jnp.pad(x, widths)


def cut(x: Array, axis: int, start: int, size: int, stride: int = 1) -> Array:
    """`size` entries of one axis, from `start`, every `stride`-th."""
    return jax.lax.slice_in_dim(x, start, start + (size - 1) * stride + 1, stride, axis)


def _blur_axis(x: Array, axis: int, padding: tuple[int, int], stride: int) -> Array:
    x = pad(x, axis, *padding)
    size = (x.shape[axis] - len(KERNEL)) // stride + 1
    near, far = KERNEL[1], KERNEL[0]
    taps = [cut(x, axis, k, size, stride) for k in range(4)]
    return near * (taps[1] + taps[2]) + far * (taps[0] + taps[3])


def _blur_slices(x: Array, padding: tuple[int, int], stride: int) -> Array:
    return _blur_axis(_blur_axis(x, 1, padding, stride), 2, padding, stride)


def _blur_depthwise(x: Array, padding: tuple[int, int], stride: int) -> Array:
    channels = x.shape[3]
    kernel = jnp.broadcast_to(jnp.asarray(np.outer(KERNEL, KERNEL), x.dtype)[:, :, None, None], (4, 4, 1, channels))
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [padding] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
        precision=jax.lax.Precision.HIGHEST,  # the kernel is exact in bfloat16, float32 maps are not
    )


@functools.cache
def _blur(padding: tuple[int, int], stride: int) -> Form:
    form = lambda blur: functools.partial(blur, padding=padding, stride=stride)
    return by_platform(form(_blur_slices), tpu=form(_blur_depthwise))


def blur(x: Float[Array, "b h w c"], padding: tuple[int, int], stride: int = 1) -> Float[Array, "b h2 w2 c"]:
    """Blurs zero-padded x with the separable kernel; h2 = (h + sum(padding) - 4) // stride + 1."""
    return _blur(padding, stride)(x)


def interleave(even: Array, odd: Array, axis: int) -> Array:
    """even[0], odd[0], even[1], odd[1], … along `axis`."""
    stacked = jnp.stack([even, odd], axis=axis + 1)
    shape = list(even.shape)
    shape[axis] *= 2
    return stacked.reshape(shape)


def _upsample_axis(x: Array, axis: int) -> Array:
    n = x.shape[axis]
    padded = pad(x, axis, 1, 1)
    before, after = cut(padded, axis, 0, n), cut(padded, axis, 2, n)
    return interleave(0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after, axis)


def _upsample_phases(x: Array) -> Array:
    return _upsample_axis(_upsample_axis(x, 1), 2)


# A TPU's compiler would fuse the interleaving into a padded convolution that reads it, and fails at that.
_upsample = by_platform(_upsample_phases, tpu=lambda x: jax.lax.optimization_barrier(_upsample_phases(x)))


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Doubles the resolution: zero insertion, padding (2, 1), blur of gain 4 (flow and image skips of the generator)."""
    return _upsample(x)


def blur_phases(even: Array, odd: Array, axis: int) -> tuple[Array, Array]:
    """Blur of gain 2 and padding (1, 1) along one axis of the signal even[0], odd[0], …, even[n-1], odd[n-1], even[n].

    Returns:
        The even and odd samples of the result, n each.
    """
    n = odd.shape[axis]
    odd = pad(odd, axis, 1, 1)
    near, far = 2 * KERNEL[1], 2 * KERNEL[0]
    even_here, even_next = cut(even, axis, 0, n), cut(even, axis, 1, n)
    odd_before, odd_here, odd_next = (cut(odd, axis, k, n) for k in range(3))
    return (
        near * (even_here + odd_here) + far * (odd_before + even_next),
        near * (odd_here + even_next) + far * (even_here + odd_next),
    )


def _interleaved(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    x = jnp.einsum("ph,bhwc->bpwc", rows, x, precision="highest")
    return jnp.einsum("qw,bpwc->bpqc", columns, x, precision="highest")


def _planes(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    x = jnp.moveaxis(x, 3, 0)
    x = jnp.einsum("qw,cbhw->cbhq", columns, x, precision="highest")
    return jnp.moveaxis(jnp.einsum("ph,cbhq->cbpq", rows, x, precision="highest"), 0, 3)


def by_matrices(
    x: Float[Array, "b h w c"], rows: Real[np.ndarray, "h2 h"], columns: Real[np.ndarray, "w2 w"]
) -> Float[Array, "b h2 w2 c"]:
    """Resamples columns of pixels by `rows` and rows of pixels by `columns`, in x's type at full precision."""
    # XLA's products on GPUs work in tiles of 2^n rows. Where 3 channels are not the outermost of the axes that the rows are
    # made of, a tile may be no box of them, and compiling ends in "Couldn't find output tile sizes". (With autotuning, the
    # default where the GPU is there, XLA looks for a kernel that does compile.)
    down, across = rows.astype(x.dtype), columns.astype(x.dtype)
    return by_platform(lambda x: _interleaved(x, down, across), cuda=lambda x: _planes(x, down, across))(x)


@functools.cache
def _pyramid_matrix(size: int, factor: int) -> np.ndarray:
    """(size // factor, size): zero-padded Gaussian blur, then every factor-th sample."""
    sigma = (factor - 1) / 2
    radius = round(4 * sigma)
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    centres = np.arange(0, size, factor)
    offsets = np.arange(size)[None, :] - centres[:, None] + radius
    inside = (offsets >= 0) & (offsets <= 2 * radius)
    return np.where(inside, taps[np.clip(offsets, 0, 2 * radius)], 0.0)


def downscale(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Antialiased downscaling of the perceptual loss's pyramid by an integer factor (SPEC §1, training).

    A Gaussian of sigma (factor - 1) / 2 cut at 4 sigma, zero padding, every factor-th pixel from the first.
    """
    return x if factor == 1 else by_matrices(x, *(_pyramid_matrix(n, factor) for n in x.shape[1:3]))


def pyramid(x: Float[Array, "b h w c"], *, smallest: int = 16) -> list[Float[Array, "b _ _ c"]]:
    """X at scales 1, 1/2, 1/4, 1/8, without those under `smallest` px."""
    return [downscale(x, factor) for factor in (1, 2, 4, 8) if factor == 1 or min(x.shape[1:3]) // factor >= smallest]
