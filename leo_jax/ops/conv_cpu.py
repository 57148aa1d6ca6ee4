"""The convolutions' forms for the CPU, where XLA's gradients of strided, padded and transposed ones are several times slower.

All are built from one primitive, `conv`. The stride-2 transposed convolution is four plain ones, one for each
parity of the output pixel, so that no inserted zero is multiplied, neither forward nor backward.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from leo_jax.ops import resample
from leo_jax.ops.conv_xla import convolve


def _kernel_gradient(x: Array, dy: Array, kernel_shape: tuple[int, int], stride: int) -> Array:
    """Matrix products in place of XLA's form, several times quicker: one for each tap, or each row of taps at stride 1.

    A row of taps is one product with the copies of dy that its columns are shifted by side by side: wider, so quicker for
    few channels, and x is cut into rows alone.
    """
    (rows, columns), (_, h, w, c_out), c = kernel_shape, dy.shape, x.shape[3]

    def product(window: Array, of: Array) -> Array:
        pixels = (window.reshape(-1, c), of.reshape(-1, of.shape[3]))
        return lax.dot_general(*pixels, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    if stride == 1:
        shifts = [resample.pad(dy, 2, j, columns - 1 - j) for j in range(columns)]
        shifted = jnp.concatenate(shifts, axis=3)
        taps = jnp.stack([product(resample.cut(x, 1, i, h), shifted) for i in range(rows)])
        return jnp.swapaxes(taps.reshape(rows, c, columns, c_out), 1, 2)

    def tap(i: int, j: int) -> Array:
        return product(resample.cut(resample.cut(x, 1, i, h, stride), 2, j, w, stride), dy)

    return jnp.stack([jnp.stack([tap(i, j) for j in range(columns)]) for i in range(rows)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "p q i o"], stride: int = 1, padding: int = 0
) -> Float[Array, "b h2 w2 o"]:
    """Convolution; h2 = (h + 2·padding - p) // stride + 1. A stride of 2 takes no padding, and 3x3 kernels on odd h and w."""
    return _forward(x, kernel, stride, padding)[0]


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return convolve(x, kernel, stride), (x, kernel)


def _backward(stride: int, padding: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    p, q = kernel.shape[:2]
    if stride == 1:
        rows, columns = ((taps - 1 - padding,) * 2 for taps in (p, q))  # nothing is computed for the zeros about x
        padded = jnp.pad(dy, ((0, 0), rows, columns, (0, 0)))
        dx = convolve(padded, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    else:
        dx = transposed_conv(dy, jnp.swapaxes(kernel, 2, 3))
    return dx, _kernel_gradient(x, dy, (p, q), stride).astype(kernel.dtype)


conv.defvjp(_forward, _backward)


def padded_conv(
    x: Float[Array, "b h w i"], kernel: Float[Array, "p p i o"], stride: int = 1, padding: int = 0
) -> Float[Array, "b h2 w2 o"]:
    """Convolution of zero-padded x; the padding is less than the kernel's size."""
    if stride == 1:
        return conv(x, kernel, 1, padding)
    if padding:
        steps = [size + 2 * padding - taps for size, taps in zip(x.shape[1:3], kernel.shape, strict=False)]
        rows, columns = ((padding, padding - n % stride) for n in steps)  # without what no step reaches
        x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
    return conv(x, kernel, stride)


def transposed_phases(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Stride-2 transposed 3x3 convolution, (b, 2h+1, 2w+1, o), as its four parities.

    Returns:
        ((even-even, even-odd), (odd-even, odd-odd)), rows first; even ones have n + 1 samples, odd ones n.
    """
    kernel = kernel[::-1, ::-1]
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return (
        (conv(wide, kernel[0::2, 0::2]), conv(wide[:, :, 1:-1], kernel[0::2, 1:2])),
        (conv(wide[:, 1:-1], kernel[1:2, 0::2]), conv(x, kernel[1:2, 1:2])),
    )


def _join(even: Array, odd: Array, axis: int) -> Array:
    """even[0], odd[0], …, even[n]."""
    n = odd.shape[axis]
    body = resample.interleave(resample.cut(even, axis, 0, n), odd, axis)
    return jnp.concatenate([body, resample.cut(even, axis, n, 1)], axis)


def transposed_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h+1 2*w+1 o"]:
    """Stride-2 transposed convolution: out[2i + k] += x[i] @ kernel[k]."""
    (ee, eo), (oe, oo) = transposed_phases(x, kernel)
    return _join(_join(ee, eo, 2), _join(oe, oo, 2), 1)


def upsampling_conv(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "b 2*h 2*w o"]:
    """Stride-2 transposed 3x3 convolution, then blur of gain 4 with padding (1, 1), on the parities apart."""
    (ee, eo), (oe, oo) = transposed_phases(x, kernel)
    even = resample.interleave(*resample.blur_phases(ee, eo, 2), axis=2)
    odd = resample.interleave(*resample.blur_phases(oe, oo, 2), axis=2)
    return resample.interleave(*resample.blur_phases(even, odd, 1), axis=1)
