"""Main memory's traffic is read from a program's text."""

import jax
import jax.numpy as jnp
import pytest

from leo_jax.aot.traffic import memory_bytes
from tests.aot.test_hlo import PROGRAM


def program(*lines, computations=""):
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n{computations}\nENTRY %main (p: f32[8]) -> f32[8] {{\n{body}\n}}\n"


def test_traffic_is_what_operations_read_and_write():
    """The loop's body five times, fusions by operands and result, neither tuples nor the -done of a pair; whole tiles."""
    body = 2 * 128 + 0  # all-reduce: one in, one out
    condition = 4 + 4 + 1
    rest = 2 * 128 + (128 + 8 * 128 * 4 + 2 * 128) + (64 + 256) + (128 + 128 + 4 + 4 + 128) + 3 * 128
    assert memory_bytes(PROGRAM) == 5 * (body + condition) + rest


def test_traffic_of_a_compiled_program_is_its_arrays():
    function = jax.jit(lambda a, b: jnp.tanh(a @ b))
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((256, 512), (512, 128))]
    least = 4 * (256 * 512 + 512 * 128 + 256 * 128)
    assert least <= memory_bytes(function.lower(*shapes).compile().as_text()) <= 1.5 * least


def test_on_chip_arrays_cost_nothing_but_the_copy_there():
    text = program(
        "%p = f32[16,128]{1,0:T(8,128)} parameter(0)",
        "%start = (f32[16,128]{1,0:T(8,128)S(1)}, f32[16,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p)",
        "%near = f32[16,128]{1,0:T(8,128)S(1)} copy-done(%start)",
        "%twice = f32[16,128]{1,0:T(8,128)S(1)} add(%near, %near)",
        "ROOT %out = f32[16,128]{1,0:T(8,128)} negate(%twice)",
    )
    assert memory_bytes(text) == 2 * 16 * 128 * 4, "read once by the copy, written once"


def test_a_sliced_copy_reads_its_slice():
    text = program(
        "%p = f32[64,128]{1,0:T(8,128)} parameter(0)",
        "%start = ((f32[64,128]{1,0:T(8,128)}), f32[16,128]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:16]}",
        "ROOT %near = f32[16,128]{1,0:T(8,128)S(1)} slice-done(%start)",
    )
    assert memory_bytes(text) == 16 * 128 * 4


def test_an_asynchronous_computation_moves_what_its_operations_do():
    """libtpu copies slices of several arrays into on-chip memory by one: both slices are read, and what goes on moves no more."""
    inner = "\n".join(
        (
            "%two (a: f32[64,128], b: f32[32,128]) -> (f32[16,128], f32[8,128]) {",
            "  %a = f32[64,128]{1,0:T(8,128)} parameter(0)",
            "  %b = f32[32,128]{1,0:T(8,128)} parameter(1)",
            "  %c = f32[16,128]{1,0:T(8,128)S(1)} slice(%a), slice={[0:16]}",
            "  %d = f32[8,128]{1,0:T(8,128)S(1)} slice(%b), slice={[0:8]}",
            "  ROOT %e = (f32[16,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)S(1)}) tuple(%c, %d)",
            "}",
        )
    )
    kind = "((f32[64,128]{1,0:T(8,128)}, f32[32,128]{1,0:T(8,128)}), (f32[16,128]{1,0:S(1)}, f32[8,128]{1,0:S(1)}), s32[]{:S(2)})"
    text = program(
        "%p = f32[64,128]{1,0:T(8,128)} parameter(0)",
        "%q = f32[32,128]{1,0:T(8,128)} parameter(1)",
        f"%start = {kind} async-start(%p, %q), calls=%two",
        f"%on = {kind} async-update(%start)",
        "ROOT %near = (f32[16,128]{1,0:S(1)}, f32[8,128]{1,0:S(1)}) async-done(%on)",
        computations=inner,
    )
    assert memory_bytes(text) == (16 + 8) * 128 * 4


def test_an_update_in_place_moves_what_it_updates():
    arrays = (
        "%p = f32[1000,128]{1,0} parameter(0)",
        "%u = f32[1,128]{1,0} parameter(1)",
        "%i = s32[] parameter(2)",
    )
    update = "dynamic-update-slice(%p, %u, %i, %i)"
    assert memory_bytes(program(*arrays, f"ROOT %o = f32[1000,128]{{1,0}} {update}")) == 2 * 128 * 4
    inner = "\n".join(
        (
            "%fused (a: f32[1000,128], b: f32[1,128], c: s32[]) -> f32[1000,128] {",
            "  %a = f32[1000,128]{1,0} parameter(0)",
            "  %b = f32[1,128]{1,0} parameter(1)",
            "  %c = s32[] parameter(2)",
            "  %d = f32[1,128]{1,0} negate(%b)",
            "  ROOT %e = f32[1000,128]{1,0} dynamic-update-slice(%a, %d, %c, %c)",
            "}",
        )
    )
    fused = "ROOT %o = f32[1000,128]{1,0} fusion(%p, %u, %i), kind=kLoop, calls=%fused"
    assert memory_bytes(program(*arrays, fused, computations=inner)) == 2 * 128 * 4 + 4


def test_what_a_library_works_in_is_not_moved():
    text = program(
        "%x = f32[64,64]{1,0} parameter(0)",
        '%c = (f32[64,64]{1,0}, s8[33554432]{0}) custom-call(%x, %x), custom_call_target="__cublas$lt$matmul"',
        "ROOT %o = f32[64,64]{1,0} get-tuple-element(%c), index=0",
    )
    assert memory_bytes(text) == 3 * 64 * 64 * 4


def test_whole_tiles_are_moved():
    """Channels that are a tile's lanes take 128; the order of axes in memory decides which are."""
    for layout, elements in (
        ("3,0,2,1:T(8,128)(2,1)", 8 * 10 * 10 * 128),
        ("2,3,1,0:T(8,128)(2,1)", 8 * 10 * 64 * 128),
        ("3,2,1,0", 8 * 10 * 10 * 64),
    ):
        shape = f"bf16[8,10,10,64]{{{layout}}}"
        text = program(f"%p = {shape} parameter(0)", f"ROOT %out = {shape} negate(%p)")
        assert memory_bytes(text) == 2 * 2 * elements, layout


@pytest.mark.parametrize(("operation", "read"), [("slice", 8), ("negate", 64)])
def test_a_fusion_reads_what_it_uses(operation, read):
    rows = 8 if operation == "slice" else 64
    inner = "\n".join(
        (
            f"%part.1 (q: f32[64]) -> f32[{rows}] {{",
            "  %q = f32[64]{0} parameter(0)",
            f"  ROOT %s = f32[{rows}]{{0}} {operation}(%q)",
            "}",
        )
    )
    text = program(
        "%p = f32[64]{0} parameter(0)",
        f"ROOT %out = f32[{rows}]{{0}} fusion(%p), kind=kLoop, calls=%part.1",
        computations=inner,
    )
    assert memory_bytes(text) == 4 * (read + rows)
