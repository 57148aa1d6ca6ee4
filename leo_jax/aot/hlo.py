"""Collectives in a compiled program, read from its text."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
BYTES |= {"u64": 8, "f64": 8, "c64": 8, "s4": 1, "u4": 1, "f8e4m3fn": 1, "f8e5m2": 1}

_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+(?:fn)?)?)\[([\d,]*)\]")
_OPERATION = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_CHAIN = re.compile(r'channel_id=(\d+),.*chain_id="(\d+)"')
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|branch_computations|called_computations)=\{?([^,}]*(?:, %[^,}]*)*)"
)
RUNS = re.compile(
    r"\b(?:body|condition|branch_computations)=\{?([^,}]*(?:, %[^,}]*)*)"
)  # of those, what runs by itself
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_TRIPS = re.compile(r'known_trip_count"?:? ?\{"?n"?:"?(\d+)"?')


class Collective(NamedTuple):
    """One collective operation: of `bytes`, the whole array on the side where it is whole; run `times` a step."""

    kind: str
    bytes: int
    group: int
    times: int
    origin: str


class Instruction(NamedTuple):
    """One operation: its result's name and shape (with layout), the results it takes, and what the line says further on."""

    name: str
    kind: str
    shape: str
    operands: list[str]
    rest: str


def collectives(text: str, devices: int) -> list[Collective]:
    """All collectives of a program's text (`compiled.as_text()`), those in loops with the number of turns.

    An asynchronous pair counts once, and so does a chain: libtpu repeats an operation that goes on beside others in each of
    their fusions, from its start to its end, under one `chain_id`. `bytes` is the size of the reduced, gathered or exchanged
    array on one device: the operand of a reduce-scatter, the result of the others. `group` is how many devices take part
    together.
    """
    computations, entry = bodies(text)
    runs = times(computations, entry)
    found, chains = [], set()
    for name, lines in computations.items():
        for line in lines:
            match = _OPERATION.match(line)
            if match and runs[name]:
                if chain := _CHAIN.search(line):
                    if (link := (match[2], *chain.groups())) in chains:
                        continue
                    chains.add(link)
                group = _group(line, devices)
                size = _size(match[2], match[1], bool(match[3])) * (group if match[2] == "reduce-scatter" else 1)
                origin = re.search(r'op_name="([^"]*)"', line)
                found.append(Collective(match[2], size, group, runs[name], origin[1] if origin else ""))
    return found


def seconds(collective: Collective, link: float) -> float:
    """The least time of all its runs where each device sends `link` bytes/s: what a ring (or a torus of them) sends.

    A reduction sends 2·(n-1)/n of the array, the others (n-1)/n; a permutation all of it.
    """
    share = (collective.group - 1) / collective.group
    factor = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(collective.kind, share)
    return collective.times * collective.bytes * factor / link


def by_kind(found: list[Collective]) -> Mapping[str, tuple[int, int]]:
    """Kind → (number of runs, bytes of all of them)."""
    table: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in found:
        number, size = table[one.kind]
        table[one.kind] = (number + one.times, size + one.times * one.bytes)
    return dict(table)


def bodies(text: str) -> tuple[dict[str, list[str]], str]:
    """Computation → its lines, and the name of the one that runs."""
    found: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            name = head[2]
            found[name] = []
            entry = name if head[1] else entry
        elif line.startswith("}"):
            name = ""
        elif name:
            found[name].append(line)
    return found, entry


def times(computations: Mapping[str, list[str]], entry: str, through: re.Pattern[str] = _CALLED) -> dict[str, int]:
    """How often each computation runs in one run of the program; a loop of unknown length counts as one turn."""
    runs: dict[str, int] = defaultdict(int)

    def visit(name: str, number: int) -> None:
        runs[name] += number
        for line in computations.get(name, ()):
            turns = _TRIPS.search(line)
            inner = number * int(turns[1]) if turns and " while(" in line else number
            for called in _called(line, through):
                visit(called, inner)

    visit(entry, 1)
    return runs


def instructions(lines: Sequence[str]) -> list[Instruction]:
    """The operations of a computation, in their order."""
    found = [match for match in map(_INSTRUCTION.match, lines) if match]
    return [Instruction(m[1], m[3], m[2], re.findall(r"%([\w.\-]+)", m[4].split("), ")[0]), m[4]) for m in found]


def _called(line: str, through: re.Pattern[str]) -> Iterator[str]:
    for match in through.finditer(line):
        yield from (name.strip().lstrip("%") for name in match[1].split(","))


def _size(kind: str, shape: str, started: bool) -> int:
    """Bytes of the result; an asynchronous start of another kind than a reduction gives (operands, results, …)."""
    if not started or kind == "all-reduce":
        return _bytes_of(shape)
    sizes = [_bytes(*array) for array in _SHAPE.findall(shape)]
    arrays = [size for size, (_, dims) in zip(sizes, _SHAPE.findall(shape), strict=True) if dims]  # no context scalars
    return sum(arrays[len(arrays) // 2 :])


def _bytes(kind: str, dims: str) -> int:
    return math.prod(int(n) for n in dims.split(",") if n) * BYTES.get(kind, 4)


def _bytes_of(shape: str) -> int:
    """Bytes of an array or tuple written as 'f32[2,3]{1,0}' or '(f32[2], s32[])'."""
    return sum(_bytes(*array) for array in _SHAPE.findall(shape))


def _group(line: str, devices: int) -> int:
    """Devices that take part together, by `replica_groups` in any of its three notations."""
    table = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    if table:
        return int(table[2])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return len(listed[1].split(","))
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", line)
    if mesh:
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", mesh[2]))
    return devices
