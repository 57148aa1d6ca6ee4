"""What a person reads of rooflines: a paragraph for each, and a table."""

from collections.abc import Sequence

from leo_jax.aot.chips import Slice
from leo_jax.aot.compiling import DoesNotFit
from leo_jax.aot.inputs import Input
from leo_jax.aot.roofline import Roofline

HEAD = (
    "| stage | chips | batch | HBM of one chip (arguments + temporaries), GB | TFLOP | GB moved | ms: FLOPs / bytes / links | "
    "all a second | MFU at most | compiled in |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def row(r: Roofline) -> str:
    """One line of the table."""
    times = " / ".join(_number(1e3 * r.seconds[name]) for name in ("flops", "bytes", "links"))
    memory = f"{r.memory.total / 1e9:.1f} ({r.memory.arguments / 1e9:.1f} + {r.memory.temporaries / 1e9:.1f})"
    return (
        f"| {r.stage} | {r.place.devices} {r.place.chip.name} | {r.batch_size} | {memory}{'' if r.fits else ', does not fit'} | "
        f"{r.flops / 1e12:.2f} | {r.bytes / 1e9:.1f} | {times} | {_number(r.rate)} {r.example}s | {100 * r.utilisation:.0f} % | "
        f"{r.compiling:.0f} s |"
    )


def table(rooflines: Sequence[Roofline]) -> str:
    """All of them, in Markdown."""
    return "\n".join([HEAD, *map(row, rooflines)])


def paragraph(r: Roofline, wants: Input | None = None, *, steps: int = 0, batch_size: int = 0) -> str:
    """One roofline in words, with the input that it takes and the hours of a whole training: `steps` of `batch_size`."""
    chip, memory, seconds = r.place.chip, r.memory, r.seconds
    mesh = " × ".join(f"{size} {axis}" for axis, size in r.mesh.items())
    lines = [
        f"{r.stage} on {r.place.devices} {chip.name} ({r.place.topology}; {mesh}), batch {r.batch_size}:",
        f"  memory     {memory.total / 1e9:.2f} of {chip.memory / 1e9:.0f} GB: {'fits' if r.fits else 'DOES NOT FIT'} (arguments "
        f"{memory.arguments / 1e9:.2f}, temporaries {memory.temporaries / 1e9:.2f}, program {memory.code / 1e9:.2f})",
        f"  arithmetic {r.flops / 1e12:.3f} TFLOP, {1e3 * seconds['flops']:.2f} ms at {chip.flops / 1e12:.0f} TFLOP/s"
        f"{_of_float32(r)}; the mathematics alone {r.model_flops / 1e12:.3f}",
        f"  traffic    {r.bytes / 1e9:.2f} GB, {1e3 * seconds['bytes']:.2f} ms at {chip.bandwidth / 1e9:.0f} GB/s",
    ]
    for kind, traffic in sorted(r.collectives.items()):
        lines.append(
            f"  links      {traffic.count} {kind}, {traffic.bytes / 1e6:.2f} MB, {1e3 * traffic.seconds:.2f} ms at "
            f"{r.place.link / 1e9:.0f} GB/s"
        )
    trained = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in r.parameter_bytes.items())
    lines += [f"  parameters {trained} in float32"] if trained else []
    limit = max(seconds, key=lambda name: seconds[name])
    lines.append(
        f"  bound      {1e3 * r.bound:.2f} ms a step, by {limit}: {_number(r.rate)} {r.example}s/s; MFU at most "
        f"{100 * r.utilisation:.1f} %"
    )
    if steps:
        hours = steps * batch_size / r.rate / 3600
        chip_hours = _number(hours * r.place.devices)
        lines.append(
            f"  schedule   {steps} steps of {batch_size} at this rate: {_number(hours)} hours, {chip_hours} chip-hours at "
            "least; it will be more"
        )
    if wants and wants.frames:
        lines.append(
            f"  input      for {min(r.place.chip.host, r.place.devices)} chips a host reads {wants.frames:.0f} frames/s, "
            f"{wants.bytes / 1e9:.3f} GB/s ({wants.bytes / wants.frames / 1e3:.1f} kB each), and decodes them on "
            f"{wants.cores:.1f} cores ({1e3 * wants.cores / wants.frames:.2f} ms each)"
        )
    lines.append(
        f"  compiled in {r.compiling:.0f} s, {r.processor:.0f} s of processor, by {r.compiler}; traced in {r.tracing:.0f} s"
    )
    return "\n".join(lines)


def _of_float32(r: Roofline) -> str:
    share = f"{100 * r.float32:.1f} % of it in float32, at {r.place.chip.flops32 / 1e12:.3g}"
    return f" ({share})" if r.float32 >= 0.0005 else ""


def refusal(stage: str, place: Slice, error: DoesNotFit) -> str:
    """What is known of a program that the compiler refused for its memory."""
    needed = f"{error.needed / 1e9:.2f} of" if error.needed else "more than"
    return (
        f"{stage} on {place.devices} {place.chip.name} ({place.topology}):\n"
        f"  memory     {needed} {place.chip.memory / 1e9:.0f} GB: DOES NOT FIT, by the compiler"
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
