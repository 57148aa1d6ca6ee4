"""`launch/aot.py`: compiles a stage's program for a slice of chips that is not here, and says what bounds it.

    python launch/aot.py --config=configs/taichi.py --stage=animator --topology=v5e-8,v5e-64,v5e-256
        [--per_device=8] [--out=taichi.json] [--largest_batch] [--config.model.dtype=bfloat16 …]

Nothing is run: rates are what the chip's published figures allow at most. Topologies: v5e-256 or v5e:16x16, v4-…, v5p-…, v6e-…
(as Google's names count), h100-8, a100-8. Stages: those of a run that compute (animator, codes, motion, start, transition,
first_frame) and i3d, the features of an evaluation.
"""

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from leo_jax import files
from leo_jax.config_files import found_or_exit, parsed_or_exit

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with FILE:STRING for its variants.")
_STAGE: Any = flags.DEFINE_list("stage", ["animator"], "Stages, separated by commas.")
_TOPOLOGY: Any = flags.DEFINE_list("topology", None, "Slices, separated by commas: v5e-256, v5e:16x16, h100-8.")
_PER_DEVICE = flags.DEFINE_integer(
    "per_device", 0, "Examples of each chip. [the config's batch shared out; 8 where it cannot be]", lower_bound=0
)
_LARGEST = flags.DEFINE_bool(
    "largest_batch", False, "Also look for the largest batch that fits, to a sixteenth; compiles several times."
)
_OUT: Any = flags.DEFINE_string("out", None, "Writes everything as JSON to this file.")
_FRAMES_PER_CORE = flags.DEFINE_float(
    "frames_per_core", 0, "Frames a second that a host's core decodes. [docs/data.md's]"
)
_FRAME_BYTES = flags.DEFINE_float("frame_bytes", 0, "Bytes of a stored frame. [docs/data.md's]")
_MEASURE: Any = flags.DEFINE_string("measure_input", None, "Prepared data set to measure both on, here.")
flags.mark_flag_as_required("topology")

BLOCK = {"animator": 8}  # examples that a chip takes together
MOST = 4096  # examples a chip that the search for the largest batch goes up to


def main(arguments: Sequence[str]) -> None:
    """Compiles every stage for every slice, prints what it finds, and a table."""
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}: overrides look like --config.model.dtype=bfloat16")
    from leo_jax.aot import chips, compiling, inputs, report
    from leo_jax.aot.roofline import largest

    config, rooflines, plain, misfits = _CONFIG.value, [], [], []
    frames_per_core = _FRAMES_PER_CORE.value or inputs.FRAMES_PER_CORE
    frame_bytes = _FRAME_BYTES.value or inputs.FRAME_BYTES
    try:
        places = [chips.parse(name) for name in _TOPOLOGY.value]
        if _MEASURE.value:
            frames_per_core, frame_bytes = inputs.measured(_MEASURE.value, config.model.size, config.data.augmentation)
            print(f"input measured: {frames_per_core:.0f} frames/s of a core, {frame_bytes:.0f} bytes each")
        for stage in _STAGE.value:
            for place in places:
                try:
                    program, roofline = compile_stage(config, stage, place, _PER_DEVICE.value)
                except compiling.DoesNotFit as error:
                    known = 0
                    misfits.append(f"{stage} on {place.topology}")
                    print(report.refusal(stage, place, error), flush=True)
                    told = {"needed_bytes": error.needed, "compiler_said": str(error)}
                    plain.append({"stage": stage, "topology": place.topology, "devices": place.devices, **told})
                else:
                    known = roofline.batch_size // place.devices if roofline.fits else 0
                    misfits += [] if roofline.fits else [f"{stage} on {place.topology}"]
                    schedule = scheduled(config, stage)
                    wants = inputs.needed(
                        roofline, program.pictures, frames_per_core=frames_per_core, frame_bytes=frame_bytes
                    )
                    print(report.paragraph(roofline, wants, **schedule), flush=True)
                    rooflines.append(roofline)
                    given = {"frames_per_core": frames_per_core, "frame_bytes": frame_bytes}
                    plain.append({**roofline.to_json(), "input": {**vars(wants), **given}})
                if _LARGEST.value:
                    good = functools.partial(fits, config, stage, place)
                    most = largest(good, BLOCK.get(stage, 1), MOST, known)
                    plain[-1]["largest_per_device"] = most
                    print(f"  largest    {most} a chip fit{', the most that is tried' * (most >= MOST)}", flush=True)
                if _OUT.value:  # after each: the next one may take long
                    files.atomic_write(_OUT.value, json.dumps(plain, indent=1) + "\n")
    except (ValueError, compiling.ToolMissing) as error:
        sys.exit(f"error: {error}")
    if rooflines:
        print(report.table(rooflines))
    if misfits:
        sys.exit(
            f"error: too large for the chip's memory: {', '.join(misfits)}; a smaller --per_device, remat, or fsdp helps"
        )


def scheduled(config: Any, stage: str) -> dict[str, int]:
    """Steps and batch of the whole training that the config asks for; nothing where nothing is trained."""
    from leo_jax.experiment import marks

    if stage not in marks.TRAINED:
        return {}
    section = config.data if stage == "animator" else config[stage]
    return {"steps": config[stage].steps, "batch_size": section.batch_size}


def compile_stage(config: Any, stage: str, place: Any, per_device: int) -> tuple[Any, Any]:
    """(program, roofline) of one stage on one slice. Raises what its parts raise."""
    from leo_jax.aot import compiling, roofline
    from leo_jax.experiment import programs, settings

    mesh = settings.mesh_of(config, compiling.devices_of(place))
    program = programs.program_of(config, stage, per_device=per_device or None, devices=place.devices)
    if program.batch_size % place.devices:
        print(f"{stage}: a batch of {program.batch_size} does not divide over {place.devices} chips; taking 8 for each")
        program = programs.program_of(config, stage, per_device=8, devices=place.devices)
    return program, roofline.measure(stage, program, place, mesh, compiling.compile_for(program.trace, mesh))


def fits(config: Any, stage: str, place: Any, per_device: int) -> bool:
    """Whether a batch of `per_device` examples a chip fits the chip's memory."""
    from leo_jax.aot.compiling import DoesNotFit

    try:
        found = compile_stage(config, stage, place, per_device)[1]
    except DoesNotFit:
        return False
    print(f"  {per_device} a chip: {found.memory.total / 1e9:.2f} GB", flush=True)
    return found.fits


def start(arguments: Sequence[str]) -> None:
    """Parses `arguments` (the program's name first) and runs; ends the process. JAX must not have been used before."""
    arguments = found_or_exit(arguments)
    arguments.insert(1, "--verbosity=-1")
    app.run(main, argv=arguments, flags_parser=parsed_or_exit)
