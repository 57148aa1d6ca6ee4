"""Collectives and traffic, read from programs as XLA prints them."""

import pytest

from leo_jax.aot import hlo

PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %state = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %all-reduce.1 = f32[8,4]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%i, %all-reduce.1)
}

%condition (state: (s32[], f32[8,4])) -> pred[] {
  %state = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %n = s32[] constant(5)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%gathering (p: bf16[2,16]) -> bf16[8,16] {
  %p = bf16[2,16]{1,0} parameter(0)
  ROOT %all-gather.7 = bf16[8,16]{1,0} all-gather(%p), channel_id=9, replica_groups=[1,4]<=[4], dimensions={0}
}

%unused (p: f32[64]) -> f32[64] {
  %p = f32[64]{0} parameter(0)
  ROOT %all-reduce.9 = f32[64]{0} all-reduce(%p), replica_groups={}, to_apply=%add
}

ENTRY %main (x: f32[8,4], y: bf16[2,16]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %y = bf16[2,16]{1,0} parameter(1)
  %zero = s32[] constant(0)
  %init = (s32[], f32[8,4]{1,0}) tuple(%zero, %x)
  %loop = (s32[], f32[8,4]{1,0}) while(%init), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %z = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %start = f32[8,4]{1,0} all-reduce-start(%z), channel_id=2, replica_groups=mesh['a'=2,'b'=2] {'a','b'}, to_apply=%add, metadata={op_name="jit(step)/gradient"}
  %done = f32[8,4]{1,0} all-reduce-done(%start)
  %two = (f32[8,4]{1,0}, f32[2,4]{1,0:T(8,128)}) reduce-scatter(%done, %done), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
  %g = bf16[8,16]{1,0} fusion(%y), kind=kCustom, calls=%gathering
  %move = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%done), source_target_pairs={{0,1},{1,0}}
  %moved = f32[8,4]{1,0} collective-permute-done(%move)
  ROOT %out = f32[8,4]{1,0} add(%moved, %done)
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def found():
    return hlo.collectives(PROGRAM, devices=4)


def test_every_collective_that_runs_is_found_once(found):
    kinds = sorted((one.kind, one.times) for one in found)
    assert kinds == [
        ("all-gather", 1), ("all-reduce", 1), ("all-reduce", 5), ("collective-permute", 1), ("reduce-scatter", 1),
    ], "in a fusion and a loop too; an asynchronous pair once; not what nothing calls"  # fmt: skip


def test_sizes_are_of_the_whole_arrays(found):
    assert hlo.by_kind(found) == {
        "all-reduce": (6, 6 * 8 * 4 * 4),
        "all-gather": (1, 8 * 16 * 2),
        "reduce-scatter": (1, 4 * (8 * 4 + 2 * 4) * 4),
        "collective-permute": (1, 8 * 4 * 4),
    }


def test_groups_in_every_notation(found):
    assert sorted((one.kind, one.group) for one in found) == [
        ("all-gather", 4), ("all-reduce", 2), ("all-reduce", 4), ("collective-permute", 4), ("reduce-scatter", 4),
    ]  # fmt: skip
    assert next(one for one in found if one.times == 1 and one.kind == "all-reduce").origin == "jit(step)/gradient"


def test_time_on_the_links():
    one = hlo.Collective("all-reduce", 1000, 4, 3, "")
    assert hlo.seconds(one, link=100.0) == pytest.approx(3 * 2 * 0.75 * 10)
    assert hlo.seconds(one._replace(kind="all-gather"), 100.0) == pytest.approx(3 * 0.75 * 10)
    assert hlo.seconds(one._replace(group=1), 100.0) == 0, "alone there is nothing to send"


CHAIN = """HloModule jit_step, is_scheduled=true

%begin (p: f32[4,8]) -> (f32[4,8], f32[4,32]) {
  %p = f32[4,8]{1,0} parameter(0)
  %all-gather.1 = f32[4,32]{1,0:T(8,128)} all-gather(%p), channel_id=7, replica_groups=[1,4]<=[4], dimensions={1}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %custom-call.1 = (f32[4,8]{1,0}, f32[4,32]{1,0}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%beside (p: f32[4,8], q: f32[4,8]) -> (f32[4,8], f32[4,32]) {
  %p = f32[4,8]{1,0} parameter(0)
  %q = f32[4,8]{1,0} parameter(1)
  %all-gather.2 = f32[4,32]{1,0:T(8,128)S(1)} all-gather(%p), channel_id=7, replica_groups=[1,4]<=[4], dimensions={1}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %two = (f32[4,8]{1,0}, f32[4,32]{1,0}) tuple(%q, %all-gather.2)
}

ENTRY %main (x: f32[4,8], y: f32[4,8]) -> f32[4,32] {
  %x = f32[4,8]{1,0} parameter(0)
  %y = f32[4,8]{1,0} parameter(1)
  %f = (f32[4,8]{1,0}, f32[4,32]{1,0}) fusion(%x), kind=kCustom, calls=%begin
  %g = (f32[4,8]{1,0}, f32[4,32]{1,0}) fusion(%x, %y), kind=kCustom, calls=%beside
  ROOT %other = f32[4,32]{1,0} all-gather(%y), channel_id=8, replica_groups=[1,4]<=[4], dimensions={1}
}
"""  # noqa: E501


def test_a_chain_that_goes_on_beside_others_counts_once():
    assert hlo.by_kind(hlo.collectives(CHAIN, devices=4)) == {"all-gather": (2, 2 * 4 * 32 * 4)}
