"""Counted FLOPs are those of the mathematics."""

import jax
import jax.numpy as jnp
import numpy as np

from leo_jax.aot.flops import by_type, count
from leo_jax.ops import conv, conv_cpu, warp


def flops(function, *shapes):
    return count(jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)))


def test_products_and_convolutions():
    assert flops(jnp.matmul, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (4, 3, 5), (4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    assert flops(conv.same_conv, (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * 2 * 64 * 9 * 3 * 5
    assert flops(lambda x: x * 2 + jnp.sum(x), (100,)) == 0


def test_full_precision_is_told_from_the_rest():
    x, short = jnp.zeros((4, 4)), jnp.zeros((4, 4), jnp.bfloat16)

    def function(x, short):
        precise = jnp.matmul(x, x, precision="highest")
        return precise, jnp.matmul(x, x, precision="default"), jnp.matmul(short, short, precision="highest")

    assert by_type(jax.make_jaxpr(function)(x, short)) == {"float32": 2 * 4**3, "bfloat16": 2 * 2 * 4**3}


def test_gradient_of_a_convolution_takes_two_more():
    def loss(x, k):
        return jnp.sum(conv.conv(x, k))

    forward = flops(loss, (2, 8, 8, 3), (1, 1, 3, 5))
    assert flops(jax.value_and_grad(loss, (0, 1)), (2, 8, 8, 3), (1, 1, 3, 5)) == 3 * forward
    assert flops(jax.grad(loss, (0, 1)), (2, 8, 8, 3), (1, 1, 3, 5)) == 2 * forward, "the unused value counts"


def test_inserted_zeros_do_not_count():
    plain = lambda x, k, **how: jax.lax.conv_general_dilated(
        x, k, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"), **how
    )
    dilated = flops(lambda x, k: plain(x, k, lhs_dilation=(2, 2)), (1, 8, 8, 3), (3, 3, 3, 5))
    assert dilated == 2 * 15 * 15 * 9 * 3 * 5 / 4
    upsampling = flops(conv_cpu.transposed_conv, (1, 8, 8, 3), (3, 3, 3, 5))
    np.testing.assert_allclose(upsampling, 2 * 8 * 8 * 9 * 3 * 5, rtol=0.2, err_msg="apart from the border")


def test_loops_count_each_turn():
    def loop(a):
        return jax.lax.scan(lambda carry, _: (carry @ a, None), a, None, length=6)[0]

    assert flops(loop, (4, 4)) == 6 * 2 * 4**3


def test_of_alternatives_the_least_counts():
    """The warp is a gather, or a large matrix product where that is quicker: what it asks for is next to nothing."""
    assert flops(warp.warp, (1, 8, 8, 16), (1, 8, 8, 2)) == 0
