"""Devices that are not here, and programs compiled for them.

TPUs need the package libtpu; GPUs need jax-cuda12-pjrt, jax-cuda12-plugin and nvidia-cuda-nvcc-cu12, but no driver.
"""

import importlib.metadata
import importlib.util
import pathlib
import re
import tempfile
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from leo_jax.aot.chips import Slice

NEEDED = {
    "tpu": ("libtpu", "pip install -e '.[aot]'"),
    "cuda": (
        "jax_plugins.xla_cuda12",
        "pip install nvidia-cuda-nvcc-cu12 && pip install --no-deps jax-cuda12-pjrt=={0} jax-cuda12-plugin=={0}",
    ),
}
# Choosing the quickest of several kernels needs the GPU: without one the compiler takes its defaults.
GPU_OPTIONS: dict[str, Any] = {"xla_gpu_autotune_level": 0}
# What it says where its own default, products by Triton, has no tiles for a shape (I3D's, of float32 at the highest precision);
# then libraries multiply.
NO_TILES = "output tile sizes"
LIBRARIES: dict[str, Any] = {"xla_gpu_enable_triton_gemm": False}

# What a compiler for GPUs asks the driver about: the figures of SXM modules.
GPU_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared_core}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {cache}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {shared_block}
  cuda_compute_capability {{ major: {capability} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{description}"
"""
GPUS: Mapping[str, Mapping[str, Any]] = {
    "a100": dict(shared_core=167936, shared_block=166912, cores=108, lanes=64, cache=41943040, clock=1.41, capability=8,
                 bandwidth=2039000000000, memory=85167243264, description="NVIDIA A100-SXM4-80GB"),
    "h100": dict(shared_core=233472, shared_block=232448, cores=132, lanes=128, cache=52428800, clock=1.98, capability=9,
                 bandwidth=3352320000000, memory=84929347584, description="NVIDIA H100 80GB HBM3"),
}  # fmt: skip


class ToolMissing(RuntimeError):
    """The compiler for a kind of chip is not installed; the message says how to install it."""


class DoesNotFit(RuntimeError):
    """The compiler refused a program for its memory; `needed` is what it said that takes, in bytes, if it said so."""

    def __init__(self, message: str, needed: float | None):
        super().__init__(message)
        self.needed = needed


class Compiled(NamedTuple):
    """A program and its text, what compiled it, and the seconds that tracing with lowering, and compiling took.

    `processor` is how much time of all cores compiling used.
    """

    executable: jax.stages.Compiled
    text: str
    traced: jax.stages.Traced
    compiler: str
    tracing: float
    compiling: float
    processor: float


def missing(platform: str) -> str | None:
    """How to install the compiler for a platform, or None if it is there."""
    package, command = NEEDED[platform]
    try:
        there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        there = False
    return None if there else command.format(jax.__version__)


def version(platform: str) -> str:
    """The compiler's package for a platform, with its version."""
    package = {"tpu": "libtpu", "cuda": "jax-cuda12-pjrt"}[platform]
    return f"{package} {importlib.metadata.version(package)}"


def devices_of(place: Slice) -> list[Any]:
    """The devices of a slice, to compile for and nothing else. The process must have `aot.ENVIRONMENT` before JAX is imported.

    Raises:
        ToolMissing: the compiler is not installed.
    """
    platform = place.chip.platform
    command = missing(platform)
    if command:
        raise ToolMissing(f"compiling for {place.chip.name} needs a package that is not installed: {command}")
    if platform == "tpu":
        # As on a real host a chip of two cores is one device, where libtpu alone would take each core for one.
        cores = {"chip_config_name": "megacore"} if place.chip.cores > 1 else {}
        return topologies.get_topology_desc(platform="tpu", topology_name=place.topology, **cores).devices
    target = GPU_TARGET.format(**GPUS[place.chip.name])
    return topologies.get_topology_desc(platform="cuda", target_config=target, topology=place.topology).devices


def compile_for(trace: Any, mesh: jax.sharding.Mesh) -> Compiled:
    """Traces and compiles for the mesh's devices.

    Raises:
        DoesNotFit: it needs more memory than the chip has.
    """
    start = time.perf_counter()
    traced = trace(mesh)
    lowered = traced.lower()
    tracing, used = time.perf_counter() - start, time.process_time()
    platform = "tpu" if mesh.devices.flat[0].platform == "tpu" else "cuda"
    with tempfile.TemporaryDirectory() as printed:
        prints = {"xla_dump_to": printed, "xla_dump_hlo_as_text": True}
        try:
            executable = _for_gpus(lowered) if platform == "cuda" else lowered.compile(compiler_options=prints)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise DoesNotFit(str(error).split("\n")[0], needed_bytes(str(error))) from None
        compiling, used = time.perf_counter() - start - tracing, time.process_time() - used
        text = text_of(executable, pathlib.Path(printed))
    return Compiled(executable, text, traced, version(platform), tracing, compiling, used)


def _for_gpus(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    try:
        return lowered.compile(compiler_options=GPU_OPTIONS)
    except jax.errors.JaxRuntimeError as error:
        if NO_TILES not in str(error):
            raise
        return lowered.compile(compiler_options=GPU_OPTIONS | LIBRARIES)


def text_of(executable: Any, printed: pathlib.Path) -> str:
    """The text of a compiled program, by JAX or else what its compiler itself printed to the directory `printed`.

    JAX reads a program's operations before it prints them. Its XLA may be older than libtpu's, and refuses what came since:
    asynchronous operations of several operands, which the animator's step has on v5p and v6e.

    Raises:
        jax.errors.JaxRuntimeError: JAX cannot read it, and the compiler printed nothing.
    """
    try:
        return executable.as_text() or ""
    except jax.errors.JaxRuntimeError:
        texts = sorted(printed.glob("*.after_codegen.txt"), key=lambda file: file.stat().st_size)
        if not texts:
            raise
        return texts[-1].read_text()  # the largest: smaller programs may have been compiled on the way


def needed_bytes(message: str) -> float | None:
    """How much memory a compiler that ran out of it says that the program takes; None where it does not say."""
    found = re.search(r"(?:Used |required[^(]*\()([\d.]+)([KMG])", message)
    return float(found[1]) * 2.0 ** {"K": 10, "M": 20, "G": 30}[found[2]] if found else None
