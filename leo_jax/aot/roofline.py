"""What bounds a compiled program: memory that it needs, arithmetic, traffic with memory and with other chips."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from leo_jax.aot import flops, hlo, traffic
from leo_jax.aot.chips import Slice
from leo_jax.aot.compiling import Compiled
from leo_jax.experiment.programs import Program


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device's memory."""

    arguments: int
    outputs: int
    aliased: int  # outputs that take an argument's place
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All that is there at once."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Traffic:
    """One kind of collective in a step: how many, bytes of the whole arrays, and least seconds on the links."""

    count: int
    bytes: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Of one device and one step; rates are of all devices.

    Attributes:
        stage: what was compiled.
        place: for which slice.
        mesh: axis → devices.
        batch_size: examples of the global batch, each called `example`.
        memory: None where the program did not fit, and the compiler said no more.
        flops: that the compiled program executes, as XLA counts them; model_flops where those are more: products with the
            zeros of a padding, which XLA leaves out, take their time too.
        model_flops: of the mathematics alone.
        float32: share of these that are multiplied in float32, at full precision.
        bytes: that operations read from and write to the chip's main memory.
        compiler_bytes: XLA's own count, which has on-chip memory too; 0 where it gives none.
        collectives: by kind.
        parameter_bytes: of each trained network, in float32.
        compiler: its package and version.
        tracing: seconds, with lowering.
        compiling: seconds.
        processor: seconds of all cores together that compiling used.
    """

    stage: str
    place: Slice
    mesh: dict[str, int]
    batch_size: int
    example: str
    memory: Memory
    flops: float
    model_flops: float
    float32: float
    bytes: float
    compiler_bytes: float
    collectives: dict[str, Traffic]
    parameter_bytes: dict[str, float]
    compiler: str
    tracing: float
    compiling: float
    processor: float

    @property
    def fits(self) -> bool:
        """Whether the chip's memory is large enough."""
        return self.memory.total <= self.place.chip.memory

    @property
    def seconds(self) -> dict[str, float]:
        """Least time of a step by arithmetic, memory traffic, and links, each as if alone."""
        chip = self.place.chip
        links = sum(traffic.seconds for traffic in self.collectives.values())
        arithmetic = self.flops * ((1 - self.float32) / chip.flops + self.float32 / chip.flops32)
        return {"flops": arithmetic, "bytes": self.bytes / chip.bandwidth, "links": links}

    @property
    def bound(self) -> float:
        """Least seconds of a step: the longest of the three, as if the others hid behind it."""
        return max(self.seconds.values())

    @property
    def rate(self) -> float:
        """Examples a second at most."""
        return self.batch_size / self.bound

    @property
    def utilisation(self) -> float:
        """Model FLOPs over what the chips could do in the bound's time, in bfloat16: what MFU can be at most."""
        return self.model_flops / (self.place.chip.flops * self.bound)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        chip = self.place.chip
        return {
            "stage": self.stage,
            "chip": dataclasses.asdict(chip),
            "topology": self.place.topology,
            "devices": self.place.devices,
            "mesh": self.mesh,
            "batch_size": self.batch_size,
            "example": self.example,
            "memory": {**dataclasses.asdict(self.memory), "total": self.memory.total, "fits": self.fits},
            "flops": self.flops,
            "model_flops": self.model_flops,
            "float32": self.float32,
            "bytes": self.bytes,
            "compiler_bytes": self.compiler_bytes,
            "seconds": self.seconds,
            "bound_seconds": self.bound,
            "examples_per_second": self.rate,
            "mfu_bound": self.utilisation,
            "collectives": {kind: dataclasses.asdict(traffic) for kind, traffic in self.collectives.items()},
            "parameter_bytes": self.parameter_bytes,
            "compiler": self.compiler,
            "tracing_seconds": self.tracing,
            "compiling_seconds": self.compiling,
            "processor_seconds": self.processor,
        }


def measure(stage: str, program: Program, place: Slice, mesh: jax.sharding.Mesh, compiled: Compiled) -> Roofline:
    """The roofline of a compiled program, from what the compiler says of it and from its text."""
    text = compiled.text
    costs = _costs(compiled.executable)
    if (memory := compiled.executable.memory_analysis()) is None:
        raise RuntimeError(f"the compiler for {place.topology} says nothing of the memory that {stage} needs")
    types = flops.by_type(compiled.traced.jaxpr)
    model = sum(types.values()) / place.devices
    links: dict[str, Traffic] = {}
    for one in hlo.collectives(text, place.devices):
        before = links.get(one.kind, Traffic(0, 0, 0.0))
        links[one.kind] = Traffic(
            before.count + one.times,
            before.bytes + one.times * one.bytes,
            before.seconds + hlo.seconds(one, place.link),
        )
    return Roofline(
        stage,
        place,
        dict(mesh.shape),
        program.batch_size,
        program.example,
        Memory(
            memory.argument_size_in_bytes,
            memory.output_size_in_bytes,
            memory.alias_size_in_bytes,
            memory.temp_size_in_bytes,
            memory.generated_code_size_in_bytes,
        ),
        max(costs.get("flops") or 0.0, model),
        model,
        types[flops.FLOAT32] / max(sum(types.values()), 1.0),
        traffic.memory_bytes(text),
        costs.get("bytes accessed") or 0.0,
        links,
        {
            name: float(sum(4 * np.prod(x.shape) for x in jax.tree.leaves(tree)))
            for name, tree in program.parameters.items()
        },
        compiled.compiler,
        compiled.tracing,
        compiled.compiling,
        compiled.processor,
    )


def _costs(executable: jax.stages.Compiled) -> dict[str, float]:
    """XLA's own count; empty where the compiler gives none."""
    found: Any = executable.cost_analysis()
    found = found[0] if isinstance(found, list) and found else found
    return dict(found or {})


def largest(good: Callable[[int], bool], block: int, most: int = 4096, known: int = 0) -> int:
    """The largest multiple of `block`, up to `most`, that is `good`, to a sixteenth of it; 0 if not even one block is.

    Doubles until one is not, then halves the range in between. `known` is one that is good already; all smaller ones are.
    """
    low = known // block * block
    high = 2 * low or block
    while high <= most and good(high):
        low, high = high, 2 * high
    high = max(low + block, min(high, most + block))
    while high - low > max(block, low // 16):
        middle = (low + high) // 2 // block * block
        low, high = (middle, high) if good(middle) else (low, middle)
    return low
