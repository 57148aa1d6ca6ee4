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
_LIBRARY = re.compile(r'custom_call_target="__(?:cublas|cudnn)')
_WORKSPACE = re.compile(r"\b[su]8\[\d+\](?:\{[^{}]*\})?")  # what a GPU's library works in, beside its result
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
    shapes = {one.name: one.shape for one in found}
    moving = (
        one
        for one in found
        if not (one.kind in _FREE or one.kind.endswith("-done") or any(call in one.rest for call in _NOTHING))
    )
    return sum(_moved(one, [shapes.get(operand, "") for operand in one.operands], bodies) for one in moving)


def _moved(one: hlo.Instruction, shapes: Sequence[str], bodies: dict[str, list[str]]) -> int:
    operands = [_size(shape) for shape in shapes]
    if one.kind == "copy-start":  # (destination, source, context)
        return _size(one.shape)
    if one.kind == "slice-start":  # ((source), destination, context)
        destination = one.shape[one.shape.index("), ") + 3 :].rsplit(", ", 1)[0]
        return _size(destination) + (_size(destination, everywhere=True) if any(operands) else 0)
    if one.kind in ("slice", "dynamic-slice"):
        return _size(one.shape) + (_size(one.shape, everywhere=True) if any(operands) else 0)
    if one.kind == "dynamic-update-slice":  # in place: the update is read and written
        return operands[1] + (_size(shapes[1], everywhere=True) if operands[0] else 0)
    if one.kind == "custom-call" and _LIBRARY.search(one.rest):
        return _size(_WORKSPACE.sub("", one.shape)) + sum(operands)
    called = re.search(r"calls=%?([\w.\-]+)", one.rest) if one.kind in ("fusion", "async-start") else None
    if called and one.kind == "async-start":
        return _moved_in(bodies.get(called[1], []), bodies)
    inside = hlo.instructions(bodies.get(called[1], [])) if called else []
    slices, written = _sliced(inside), _size(one.shape)
    if inside and inside[-1].kind == "dynamic-update-slice":  # the root: its result takes the place of what it updates
        number, update = _updated(inside)
        if number is not None and operands[number]:
            slices, written = {**slices, number: 0}, min(written, update)
    return written + sum(min(size, slices.get(i, size)) for i, size in enumerate(operands))


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


def _updated(found: Sequence[hlo.Instruction]) -> tuple[int | None, int]:
    """(number of the parameter that the last operation updates in place, None if it is another array; bytes of the update)."""
    at = {one.name: one for one in found}
    whole, update = (at.get(name) for name in found[-1].operands[:2])
    while whole is not None and whole.kind == "bitcast":
        whole = at.get(whole.operands[0])
    if whole is None or whole.kind != "parameter" or update is None:
        return None, 0
    return int(whole.rest.split(")")[0]), _size(update.shape, everywhere=True)


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
