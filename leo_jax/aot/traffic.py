"""What a compiled program reads from and writes to a chip's main memory, read from its text.

XLA's own count also has what stays on the chip: a TPU's compiler copies arrays into on-chip memory ahead of their use, and the
operations that use them count again. The text says where each array lies, and in which tiles: a map of 64 channels takes
128 where channels are a tile's lanes, and as much is moved.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from leo_jax.aot import hlo

_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+(?:fn)?)?)\[([\d,]*)\](?:\{([^{}]*)\})?")
_TILE, _ON_CHIP = re.compile(r"T\(([\d,]+)\)"), re.compile(r"S\([1-9]\)")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "while", "conditional", "iota"}
_FREE |= {"async-update"}  # what goes on since its start
_NOTHING = ("ConcatBitcast", "AllocateBuffer", "AssumeGatherIndicesInBound")  # custom calls that move nothing


def memory_bytes(text: str) -> float:
    """Bytes of main memory that the operations of a program (`compiled.as_text()`) read and write.

    A fusion, like any operation, reads its operands, of those that it only slices the slices, and writes its result; what
    is inside stays on the chip. An asynchronous computation moves what its operations do. Loops count as often as they run;
    of unknown length, once.
    """
    bodies, entry = hlo.bodies(text)
    times = hlo.times(bodies, entry, through=hlo.RUNS)
    return float(sum(times[name] * _moved_in(lines, bodies) for name, lines in bodies.items() if times[name]))


def _moved_in(lines: Sequence[str], bodies: dict[str, list[str]]) -> int:
    found = hlo.instructions(lines)
    sizes = {one.name: _size(one.shape) for one in found}
    moving = (
        one
        for one in found
        if not (one.kind in _FREE or one.kind.endswith("-done") or any(call in one.rest for call in _NOTHING))
    )
    return sum(_moved(one, [sizes.get(operand, 0) for operand in one.operands], bodies) for one in moving)


def _moved(one: hlo.Instruction, operands: Sequence[int], bodies: dict[str, list[str]]) -> int:
    if one.kind == "copy-start":  # (destination, source, context)
        return _size(one.shape)
    if one.kind == "slice-start":  # ((source), destination, context)
        destination = one.shape[one.shape.index("), ") + 3 :].rsplit(", ", 1)[0]
        return _size(destination) + (_size(destination, everywhere=True) if any(operands) else 0)
    if one.kind in ("slice", "dynamic-slice"):
        return _size(one.shape) + (_size(one.shape, everywhere=True) if any(operands) else 0)
    called = re.search(r"calls=%?([\w.\-]+)", one.rest) if one.kind in ("fusion", "async-start") else None
    if called and one.kind == "async-start":
        return _moved_in(bodies.get(called[1], []), bodies)
    slices = _sliced(hlo.instructions(bodies.get(called[1], []))) if called else {}
    return _size(one.shape) + sum(min(size, slices.get(i, size)) for i, size in enumerate(operands))


def _sliced(found: Sequence[hlo.Instruction]) -> dict[int, int]:
    """Number of a parameter of which only slices are used → bytes of these."""
    uses: dict[str, list[hlo.Instruction]] = defaultdict(list)
    for one in found:
        for operand in one.operands:
            uses[operand].append(one)
    parameters = {one.name: int(one.rest.split(")")[0]) for one in found if one.kind == "parameter"}
    return {
        number: sum(_size(use.shape, everywhere=True) for use in uses[name])
        for name, number in parameters.items()
        if uses[name] and all(use.kind in ("slice", "dynamic-slice") for use in uses[name])
    }


def _size(shape: str, *, everywhere: bool = False) -> int:
    """Bytes of an array or tuple written as 'f32[2,3]{1,0:T(8,128)S(1)}', of those in main memory unless `everywhere`."""
    return sum(_sizes(shape, everywhere))


def _sizes(shape: str, everywhere: bool) -> Iterator[int]:
    for kind, written, layout in _ARRAY.findall(shape):
        if kind in hlo.BYTES and (everywhere or not _ON_CHIP.search(layout)):
            dims = [int(n) for n in written.split(",") if n]
            tile = _TILE.search(layout)
            if tile and dims:
                order = map(int, layout.split(":")[0].split(","))  # the fastest first
                for axis, side in zip(order, reversed([int(n) for n in tile[1].split(",")]), strict=False):
                    dims[axis] = math.ceil(dims[axis] / side) * side
            yield math.prod(dims) * hlo.BYTES[kind]
