"""The number of devices, how the state is cut over them, and in how many parts a batch is gone through change nothing.

Up to float32 rounding: sums are taken in another order. What twenty steps make of that rounding is measured too, by a run
whose first state is off by one unit in the last place.
"""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.models.animator import Animator
from leo_jax.models.discriminator import Discriminator
from leo_jax.training import accumulation
from leo_jax.training import animator as adversarial
from leo_jax.training.logging import read_rows
from leo_jax.training.state import abstract_state, along_batch, layout, make_mesh
from tests.training import devices

ROOT = pathlib.Path(__file__).parents[2]
# One process that has eight devices; LLVM's optimisations take longer than the twenty steps.
FLAGS = (
    "--xla_force_host_platform_device_count=8 --xla_llvm_disable_expensive_passes=true "
    "--xla_backend_optimization_level=0"
)
RUNS = (
    *("adversarial:1x1", "adversarial:8x1", "adversarial:4x2:accumulate=2:remat=1"),
    *("denoising:1x1", "denoising:8x1", "denoising:2x4:accumulate=2"),
)
MESHES = ("1x1", "2x1", "1x2", "4x1", "2x2", "8x1", "4x2", "1x8")
MORE = tuple(f"{task}:{mesh}" for task in devices.TASKS for mesh in MESHES)


def start(*arguments, **environment):
    command = [sys.executable, "-m", "tests.training.devices", *map(str, arguments)]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=env, **pipes)


def finish(process):
    output, _ = process.communicate()
    assert process.returncode == 0, output


def compare(found, expected, run):
    """Metrics of all steps to 1e-5; parameters to 1e-3 of the way they went in the first step, 3e-3 after twenty.

    The update is about proportional to the gradient (devices.EPS) and some 1e-4 of the parameters, so their own last place
    is some 1e-3 of it. A missing sum over devices, or other noise for a sample, changes updates by their own size.
    """
    moved = {when: expected[when] - expected["start"] for when in ("first", "last")}
    np.testing.assert_array_equal(found["start"], expected["start"], f"{run}: another initial draw")
    for when, part in (("first", 1e-3), ("last", 3e-3)):
        change = np.sqrt(np.mean((found[when] - expected[when]) ** 2) / np.mean(moved[when] ** 2))
        assert change < part, f"{run}: parameters after the {when} step differ by {change:.1e} of the way they went"
    for name in (name for name in expected if name.startswith("metric/")):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=f"{run}: {name} differs")


def compare_all(folder, runs, reference=None):
    for run in runs:
        expected = np.load((reference or folder) / f"{run.split(':')[0]}:1x1.npz")
        found = sorted(folder.glob(f"{run}*.npz"))
        assert found, f"{run} left nothing"
        for path in found:
            compare(np.load(path), expected, path.stem)


def check_shares(folder):
    """Held-out values are among the metrics that are compared; here, that each device takes its part of the examples."""
    shares = {run: int(np.load(folder / f"{run}.npz")["share"]) for run in RUNS}
    assert {run: share for run, share in shares.items() if ":1x1" in run} == {
        f"{task}:1x1": 16 for task in devices.TASKS
    }
    assert all(share == 2 for run, share in shares.items() if ":1x1" not in run)


def two_processes(folder, runs):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    flags = FLAGS.split(" ", 1)[1]
    for process in [start(folder, ",".join(runs), address, index, 2, XLA_FLAGS=flags) for index in range(2)]:
        finish(process)


def test_devices_parts_and_processes_change_nothing(tmp_path):
    """One test, for its parts are held against the same runs: RUNS, by one process with eight devices.

    Then by two of two devices each, jax.distributed over gloo: the state is whole on each, or cut over those of one process.
    """
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    finish(start(one, ",".join(RUNS), XLA_FLAGS=FLAGS))
    compare_all(one, RUNS)
    check_shares(one)
    runs = [f"{task}:{mesh}" for task in devices.TASKS for mesh in ("4x1", "2x2")]
    two_processes(two, runs)
    assert len(list(two.glob("*-[01].npz"))) == 8
    compare_all(two, runs, one)


@pytest.mark.slow
def test_every_mesh(tmp_path):
    finish(start(tmp_path, ",".join(MORE), XLA_FLAGS=FLAGS))
    compare_all(tmp_path, MORE)


@pytest.mark.slow
def test_rounding_is_what_differs(tmp_path):
    """With the true rate, and eps 1e-8, a gradient's rounding error can decide an update's sign, on one device as on eight.

    So eight devices are held to what one does when its first state is off by one unit in the last place: each step's metric stays
    within five times the largest difference that makes.
    """
    runs = [f"adversarial:{run}:true=1" for run in ("1x1", "1x1:nudged=1", "8x1", "4x2")]
    finish(start(tmp_path, ",".join(runs), XLA_FLAGS=FLAGS))
    one, nudged, *others = (np.load(tmp_path / f"{run}.npz") for run in runs)
    for name in (name for name in one if name.startswith("metric/") and one[name].ndim):  # those of each step
        allowed = 5 * np.abs(nudged[name] - one[name]).max()
        for other in others:
            np.testing.assert_allclose(other[name][0], one[name][0], rtol=1e-5)
            assert np.abs(other[name] - one[name]).max() < allowed, name


@pytest.mark.slow
def test_two_processes_share_one_state(tmp_path):
    """1×4 cuts the state over both processes, so that no process holds it whole."""
    runs = [f"{task}:1x4" for task in devices.TASKS]
    two_processes(tmp_path, runs)
    one = tmp_path / "one"
    one.mkdir()
    finish(start(one, ",".join(f"{task}:1x1" for task in devices.TASKS), XLA_FLAGS=FLAGS))
    compare_all(tmp_path, runs, one)


@pytest.mark.slow
def test_two_processes_share_one_state_through_a_run(tmp_path):
    """Pictures, held-out measurements, checkpoints, resuming and the finished parameters, with no process holding all."""
    for steps in (2, 4):
        two_processes(tmp_path, [f"adversarial:1x4:fit={steps}"])
    found = [np.load(tmp_path / f"adversarial:1x4:fit=4-{index}.npz") for index in range(2)]
    np.testing.assert_array_equal(found[0]["last"], found[1]["last"])
    rows = read_rows(tmp_path / "fit" / "metrics.jsonl")
    assert [row["step"] for row in rows if "heldout/l1" in row] == [2, 4]
    assert len(list((tmp_path / "fit" / "pictures").iterdir())) == 2


def abstract_mesh_of(count, **sizes):
    """A mesh of more devices than this process has: enough to lay arrays out, not to compute."""
    device = jax.devices()[0]

    class Place:
        def __init__(self, id):
            self.id, self.process_index, self.platform, self.client = id, id // 4, device.platform, device.client
            self.device_kind = device.device_kind

    return make_mesh([Place(i) for i in range(count)], **sizes)


def test_mesh_is_the_devices():
    mesh = abstract_mesh_of(8, fsdp=2)
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2}
    assert dict(abstract_mesh_of(8, data=2, fsdp=-1).shape) == {"data": 2, "fsdp": 4}
    assert [d.id for d in mesh.devices.ravel()] == list(range(8))
    for sizes in ({"data": 3}, {"data": 3, "fsdp": -1}, {"fsdp": 3}, {"data": -1, "fsdp": -1}, {"fsdp": 0}):
        with pytest.raises(ValueError, match=r"over 8 devices: their product must be 8"):
            abstract_mesh_of(8, **sizes)


def test_large_arrays_are_cut_over_fsdp():
    mesh = abstract_mesh_of(8, data=2, fsdp=4)
    spec = lambda *shape: tuple(layout(shape, mesh).spec)
    assert spec(3, 3, 64, 512) == (None, None, None, "fsdp"), "the largest axis is the one to cut"
    assert spec(512, 64) == ("fsdp", None)
    assert spec(64, 64) == (None, "fsdp"), "of equal axes, the last"
    assert spec(514, 512) == (None, "fsdp"), "4 does not divide 514"
    assert spec(515, 514) == () and spec(3, 3, 3, 3) == () and spec() == (), "cannot be cut, or are small"
    assert tuple(layout((512, 512), abstract_mesh_of(8)).spec) == (), "nothing is cut in a purely data-parallel mesh"
    assert tuple(along_batch(mesh).spec) == (("data", "fsdp"),)


def test_optimiser_state_and_running_mean_are_cut_as_their_parameters():
    task = devices.adversarial_task()
    state = abstract_state(task, 0, abstract_mesh_of(8, data=2, fsdp=4))
    cut = lambda tree: {
        jax.tree_util.keystr(path): leaf.sharding.spec for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    params, adam = state["generator"]["params"], state["generator"]["optimiser"][0]
    assert cut(state["ema"]) == cut(params) == cut(adam.mu) == cut(adam.nu)
    held = lambda tree: sum(np.prod(x.sharding.shard_shape(x.shape)) for x in jax.tree.leaves(tree))
    total = sum(np.prod(x.shape) for x in jax.tree.leaves(state))
    assert held(state) < 0.35 * total, "a quarter of the large arrays, and the small ones, is what a device should hold"


def test_parts_average_to_the_whole():
    batch = {"x": jnp.arange(24.0, dtype=jnp.float32), "y": jnp.ones((24, 2), jnp.float32)}
    sizes = []

    def compute(part):
        sizes.append(part["x"].shape)
        return {"mean": part["x"].mean(), "sum": part["y"].mean(0)}

    found = accumulation.averaged(compute, batch, 3, block=4)
    np.testing.assert_allclose(found["mean"], 11.5)
    np.testing.assert_allclose(found["sum"], [1, 1])
    assert set(sizes) == {(8,)}


def test_blocks_stay_together_and_parts_take_turns():
    """Part i has blocks i, i + parts, …: a device that holds consecutive blocks has some for every part."""
    x = jnp.arange(16, dtype=jnp.float32)
    firsts = lambda part: {f"{i}": part[2 * i] - part[2 * i + 1] for i in range(4)}
    found = accumulation.averaged(firsts, x, 2, block=2)
    np.testing.assert_array_equal([found[str(i)] for i in range(4)], -1, "a block was torn")
    np.testing.assert_array_equal(accumulation.averaged(lambda part: part, x, 2, block=2)[:2], [1, 2])


@pytest.mark.parametrize(("parts", "block"), [(3, 1), (2, 16), (0, 1)])
def test_batch_that_cannot_be_cut_is_an_error(parts, block):
    with pytest.raises(ValueError, match=rf"accumulate = {parts}: a batch of 16.*multiple of"):
        accumulation.averaged(lambda part: part.sum(), jnp.ones(16, jnp.float32), parts, block=block)


def test_bfloat16_is_for_feature_maps_only():
    """Parameters, optimiser, gradients' sums, metrics, flow and image stay float32."""
    sizes = {"size": 16, "width": 1 / 16, "dtype": jnp.bfloat16}
    animator = Animator(code_dim=4, **sizes)
    task = adversarial.make_task(animator, Discriminator(**sizes), adversarial.Settings(perceptual="pyramid_l1"))
    images = jax.ShapeDtypeStruct((8, 16, 16, 3), jnp.uint8)
    state = jax.eval_shape(task.init, jax.random.key(0))
    batch = {"source": images, "driving": images}
    new, metrics = jax.eval_shape(task.step, state, task.frozen, batch, jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves((new, metrics))} == {jnp.dtype("float32"), jnp.dtype("int32")}
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    params = {"params": state["generator"]["params"]}

    def drawn(params, image):
        frames = animator.apply(params, image, image)
        return frames.image, frames.flow_raw

    frames = jax.eval_shape(drawn, params, image)
    assert {x.dtype for x in jax.tree.leaves(frames)} == {jnp.dtype("float32")}
    style, features = jax.eval_shape(lambda p, x: animator.apply(p, x, method="encode"), params, image)
    assert style.dtype == jnp.float32 and {x.dtype for x in features.values()} == {jnp.dtype("bfloat16")}
