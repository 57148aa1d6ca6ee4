"""Compilers for chips that are not here take what the package gives them, and what they made is read."""

import os
import pathlib
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from leo_jax.aot import ENVIRONMENT, chips, compiling
from leo_jax.metrics import content, preprocess
from leo_jax.ops import resample

GPU = pytest.mark.skipif(compiling.missing("cuda") is not None, reason=f"not installed: {compiling.NEEDED['cuda'][1]}")


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        ("the total memory required for HLO temporaries (77.31G) exceeds available HBM (15.75G).", 77.31 * 2**30),
        ("Ran out of memory in memory space hbm. Used 512.0M of 15.75G hbm.", 512 * 2**20),
        ("RESOURCE_EXHAUSTED: something else", None),
    ],
)
def test_what_a_compiler_says_that_ran_out_of_memory(message, needed):
    assert compiling.needed_bytes(message) == needed


TPU = pytest.mark.skipif(
    compiling.missing("tpu") is not None, reason="libtpu is not installed: pip install -e '.[aot]'"
)

UNREADABLE = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from leo_jax.aot import chips, compiling

def refuse(self):
    raise jax.errors.JaxRuntimeError("INTERNAL: async-update instruction should have 1 operands but sees 3")

mesh = jax.sharding.Mesh(compiling.devices_of(chips.parse("v5e-4")), "d")
x = jax.ShapeDtypeStruct((8, 128), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("d")))
program = lambda mesh: jax.jit(lambda x: jnp.sum(jnp.tanh(x))).trace(x)
readable = compiling.compile_for(program, mesh).text
jax.stages.Compiled.as_text = refuse
printed = compiling.compile_for(program, mesh).text

from leo_jax.aot import hlo, traffic
for text in (readable, printed):
    print("found", hlo.by_kind(hlo.collectives(text, 4)), traffic.memory_bytes(text))
"""


def gradient(function):
    return jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))


@GPU
@pytest.mark.parametrize(
    ("function", "pictures"),
    [
        (gradient(lambda x: jnp.concatenate([y.ravel() for y in resample.pyramid(x)])), jnp.zeros((8, 256, 256, 3))),
        (lambda x: resample.pyramid(x, smallest=4), jnp.zeros((8, 16, 16, 3))),
        (lambda x: preprocess.to_network(x, "stretch"), jnp.zeros((2, 16, 128, 128, 3), jnp.uint8)),
        (content._to_face, jnp.zeros((8, 256, 256, 3), jnp.uint8)),
        (content._to_body, jnp.zeros((8, 128, 128, 3), jnp.uint8)),
    ],
)
def test_resizing_of_pictures_compiles_for_gpus(function, pictures):
    here = jax.sharding.SingleDeviceSharding(compiling.devices_of(chips.parse("h100-1"))[0])
    traced = jax.jit(function).trace(jax.ShapeDtypeStruct(pictures.shape, pictures.dtype, sharding=here))
    assert "dot" in traced.lower().compile(compiler_options=compiling.GPU_OPTIONS).as_text()


@TPU
def test_what_jax_cannot_read_libtpu_prints():
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", UNREADABLE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    readable, printed = [line for line in done.stdout.splitlines() if line.startswith("found")]
    assert readable == printed and "all-reduce" in readable


def test_an_unreadable_program_that_nothing_printed_is_an_error(tmp_path: pathlib.Path):
    def refuse():
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: no"):
        compiling.text_of(types.SimpleNamespace(as_text=refuse), tmp_path)
    (tmp_path / "module_0001.jit_step.after_codegen.txt").write_text("HloModule jit_step")
    (tmp_path / "module_0000.jit_f.after_codegen.txt").write_text("HloModule")
    assert compiling.text_of(types.SimpleNamespace(as_text=refuse), tmp_path) == "HloModule jit_step"
    assert compiling.text_of(types.SimpleNamespace(as_text=lambda: "read"), tmp_path) == "read"
