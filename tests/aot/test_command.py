"""The command compiles a run's own step for chips that are not here; only where their compilers are installed."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from leo_jax.aot import compiling

ROOT = pathlib.Path(__file__).parents[2]
TPU = pytest.mark.skipif(
    compiling.missing("tpu") is not None, reason="libtpu is not installed: pip install -e '.[aot]'"
)
GPU = pytest.mark.skipif(compiling.missing("cuda") is not None, reason=f"not installed: {compiling.NEEDED['cuda'][1]}")
OTHERS = ("v4-8", "v5p-8", "v6e-8")
SMALL = {  # an animator of all parts
    "model.size": 16,
    "model.width": 0.0625,
    "model.code_dim": 4,
    "animator.perceptual": "pyramid_l1",
}


def run(*flags, config=SMALL):
    overrides = [f"--config.{name}={value}" for name, value in config.items()]
    command = [sys.executable, str(ROOT / "launch" / "aot.py"), "--config=configs/taichi.py", *flags, *overrides]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)


def rooflines(tmp_path, *flags, config=SMALL):
    done = run(f"--out={tmp_path / 'found.json'}", *flags, config=config)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "found.json").read_text()), done.stdout


DEMODULATED = 5 * 32 * 32 * 4  # SMALL's: conv_4 and two convolutions each at 8 and 16 px, of 32 channels, float32


def local_blocks_only(one, besides=0):
    """The networks' gradients, `besides` bytes and some scalars go over the links, and nothing else."""
    gradients = sum(one["parameter_bytes"].values()) + besides
    moved = one["collectives"]
    return set(moved) == {"all-reduce"} and gradients <= moved["all-reduce"]["bytes"] <= gradients + 1024


@TPU
@pytest.mark.parametrize(("topology", "chip"), [("v5e-4", "v5e"), ("v5p-8", "v5p")])
def test_start_codes_for_four_chips(tmp_path, topology, chip):
    (found,), text = rooflines(tmp_path, "--stage=start", f"--topology={topology}", config={"start.width": 64})
    assert (found["devices"], found["batch_size"], found["example"]) == (4, 1024, "code")
    assert found["mesh"]["data"] == 4, "a chip of two cores is one device"
    assert found["compiler"].startswith("libtpu ")
    assert found["memory"]["fits"] and 0 < found["memory"]["total"] < 1e9
    assert found["flops"] > 0 and found["bytes"] > 0 and 0 < found["mfu_bound"] <= 1
    assert local_blocks_only(found), "data-parallel training reduces gradients and nothing else"
    assert re.search(rf"MFU at most .*\n(.*\n)*\| start \| 4 {chip} \| 1024 \|", text)


@TPU
@pytest.mark.parametrize("topology", ["v5e-8", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_no_feature_map_crosses_devices(tmp_path, topology):
    """With whole blocks of eight on each chip the discriminator's statistic stays there.

    Demodulation's part of a kernel's gradient is reduced as the (inputs, outputs) factor of the kernel, apart from the rest.
    """
    (found,), _ = rooflines(tmp_path, f"--topology={topology}", "--per_device=8")
    assert local_blocks_only(found, besides=DEMODULATED), found["collectives"]


@TPU
@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e-8", "v5e-256"])
def test_the_papers_step_fits_and_is_not_bound_to_waste(tmp_path, topology):
    """At full size, in some ten minutes of processor time each: TaichiHD at 256 px, 8 pairs a chip, VGG19 and discriminator."""
    full = {"model.dtype": "bfloat16"}
    (found,), _ = rooflines(tmp_path, f"--topology={topology}", "--per_device=8", config=full)
    assert found["batch_size"] == 8 * found["devices"] and found["memory"]["fits"]
    assert found["mfu_bound"] >= 0.5
    assert local_blocks_only(found, besides=2_093_056 * 4), found["collectives"]


@TPU
@pytest.mark.slow
def test_a_torn_block_would_be_seen(tmp_path):
    (found,), _ = rooflines(tmp_path, "--topology=v5e-8", "--per_device=2")
    assert not local_blocks_only(found, besides=DEMODULATED), "features of a block on four chips have to meet"


@TPU
@pytest.mark.slow
def test_fsdp_gathers_parameters_and_reduces_gradients(tmp_path):
    (found,), _ = rooflines(tmp_path, "--topology=v5e-8", "--per_device=8", config={**SMALL, "mesh.fsdp": 8})
    assert set(found["collectives"]) <= {"all-gather", "reduce-scatter", "all-reduce"}
    parameters = sum(found["parameter_bytes"].values())
    moved = sum(traffic["bytes"] for traffic in found["collectives"].values())
    assert moved < 3.2 * parameters, "feature maps moved, not only parameters and gradients"


@TPU
def test_fsdp_of_a_denoiser_gathers_its_parameters_once_for_each_use(tmp_path):
    (found,), _ = rooflines(tmp_path, "--stage=start", "--topology=v5e-8", config={"mesh.fsdp": 8})
    moved = sum(traffic["bytes"] for traffic in found["collectives"].values())
    assert moved < 2.2 * found["parameter_bytes"]["start"], "a chain of one operation counts more than once"


@TPU
@pytest.mark.slow
def test_what_does_not_fit_one_slice_is_tried_on_the_next(tmp_path):
    out = tmp_path / "found.json"
    done = run("--stage=start", "--topology=v5e-4,v5p-8", "--config.start.width=16384", f"--out={out}")
    assert done.returncode == 1 and "error: too large for the chip's memory: start on v5e:2x2;" in done.stderr
    refused, fitting = json.loads(out.read_text())
    assert refused["needed_bytes"] > 16e9 and "memory" in refused["compiler_said"] and fitting["memory"]["fits"]
    assert "of 16 GB: DOES NOT FIT, by the compiler" in done.stdout and "| start | 4 v5p |" in done.stdout


@TPU
@pytest.mark.slow
def test_the_largest_batch(tmp_path):
    """By compiling; each size that is tried is told."""
    small = {"start.width": 8192, "start.num_blocks": 1}
    (found,), text = rooflines(tmp_path, "--stage=start", "--topology=v5e-4", "--largest_batch", config=small)
    sizes = [int(n) for n in re.findall(r"^  (\d+) a chip: ", text, re.M)]
    assert found["largest_per_device"] >= max(sizes) >= 1 and f"{found['largest_per_device']} a chip fit" in text


@TPU
def test_every_stage_compiles(tmp_path):
    stages = ["codes", "motion", "transition", "first_frame", "i3d"]
    small = {name: 32 for name in ("motion.width", "transition.width", "first_frame.width")}
    small |= {"first_frame.multipliers": "(1, 2)"}  # 16 px have none of their own
    found, _ = rooflines(
        tmp_path, f"--stage={','.join(stages)}", "--topology=v5e-4", "--per_device=1", config={**SMALL, **small}
    )
    assert [one["stage"] for one in found] == stages
    assert all(one["memory"]["fits"] and one["flops"] > 0 for one in found)


@GPU
@pytest.mark.slow
@pytest.mark.parametrize("topology", ["h100-8", "a100-8"])
def test_gpus(tmp_path, topology):
    (found,), _ = rooflines(tmp_path, "--stage=start", f"--topology={topology}", config={"start.width": 64})
    assert found["devices"] == 8 and 0 < found["memory"]["total"] < 1e9
    assert found["flops"] > 0 and found["bytes"] > 0
    assert local_blocks_only(found)


@GPU
@pytest.mark.slow
def test_the_animators_step_compiles_for_gpus(tmp_path):
    """With the pyramid of its losses. A network that runs twice has its gradients reduced twice by this compiler."""
    (found,), _ = rooflines(tmp_path, "--topology=h100-8", "--per_device=8")
    gradients, moved = sum(found["parameter_bytes"].values()), found["collectives"]
    assert set(moved) == {"all-reduce"} and gradients <= moved["all-reduce"]["bytes"] <= 2 * gradients + DEMODULATED


@GPU
@pytest.mark.slow
def test_i3d_compiles_for_gpus(tmp_path):
    """Its products are of float32 at the highest precision, for which not every form has tiles."""
    (found,), _ = rooflines(tmp_path, "--stage=i3d", "--topology=a100-8", "--per_device=1")
    assert found["memory"]["fits"] and found["flops"] >= found["model_flops"] > 0 and not found["collectives"]


def test_what_cannot_be_is_one_clear_line(tmp_path):
    done = run("--topology=v9-8")
    assert done.returncode == 1 and re.search(r"^error: topology 'v9-8'", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr
    done = run("--topology=v5e-4", "--stage=dancing")
    assert done.returncode == 1 and re.search(r"^error: (stage 'dancing'|compiling for)", done.stderr, re.MULTILINE)
    for wrong in ("--topolgy=v5e-8", "--config.model.siz=64"):
        done = run(wrong)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
