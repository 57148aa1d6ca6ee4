"""Codes of a data set are those of its frames, whatever devices, processes and interruptions made them."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax import weights
from leo_jax.data import codes as stored
from leo_jax.data import manifest, records
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from leo_jax.models.animator import Animator
from leo_jax.training import codes
from leo_jax.training.state import make_mesh
from tests.data import samples

ROOT = pathlib.Path(__file__).parents[2]
ANIMATOR = Animator(size=8, width=1 / 64, code_dim=4)
OPTIONS = codes.options("0" * 64, 8)
LENGTHS = (5, 9, 2, 12, 7, 3)


def make(i):
    """Video i; the fourth one in three pieces, as `leo prepare` cuts long ones."""
    colours = [(40 * i + 20, 20 * t, 7) for t in range(LENGTHS[i])]
    frames = tuple(records.encode_frame(np.full((16, 16, 3), colour, np.uint8), lossless=True) for colour in colours)
    record = dataclasses.replace(samples.record(i), frames=frames, end=LENGTHS[i])
    if i != 3:
        return [record]
    cut = lambda k: {
        "frames": record.frames[4 * k : 4 * k + 4],
        "start": 4 * k,
        "end": 4 * k + 4,
        "extras": {records.CHUNK: np.array([k, 3], np.int32)},
    }
    return [dataclasses.replace(record, id=f"{record.id}#{k}", **cut(k)) for k in range(3)]


def random_params():
    rng = np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    shapes = weights.shapes_of(ANIMATOR, image, image)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def extract(data, out, per_device=4, process_count=1):
    encoder = codes.Encoder(ANIMATOR, random_params(), make_mesh(), per_device=per_device, threads=2)
    codes.begin(data, out)
    for index in range(process_count):
        arguments = {"process_index": index, "process_count": process_count, "progress": False}
        codes.write(encoder, data, out, OPTIONS, **arguments)
    return codes.finish(data, out, OPTIONS)


def contents(folder):
    """Name → bytes of everything in a folder."""
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    write_dataset(out, "clips", "train", list(range(5)), make, num_shards=3, progress=False)
    write_dataset(out, "clips", "test", [5], make, progress=False)
    return out


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("codes")
    extract(data, out)
    return out


def test_each_code_is_that_of_its_frame(data, made):
    videos, source = open_split(data, "train"), open_split(made, "train")
    assert source.frame_counts.tolist() == [5, 9, 2, 12, 7], "pieces of one clip are not joined"
    params, apply = random_params(), jax.jit(lambda p, x: ANIMATOR.apply({"params": p}, x, method="codes"))
    for n in (0, 4, 5, 13, 16, 21, 27, 34):
        image = records.decode_frame(videos.frame(*videos.place(n)))
        x = (
            jnp.asarray(image[::2, ::2], jnp.float32)[None] / 127.5 - 1
        )  # of one colour: any way to halve it is the same
        code = stored.decode([source.frame(*source.place(n))])
        np.testing.assert_allclose(code, apply(params, x), rtol=1e-4, err_msg=f"code {n} is of another frame")


def test_records_tell_where_they_come_from(made):
    source = open_split(made, "train")
    record = records.decode(source[3])
    assert (record.source, record.start, record.end, record.fps, record.split) == (
        "clip-0003.mp4",
        0,
        12,
        25.0,
        "train",
    )
    assert (record.height, record.width, len(record.frames)) == (1, 4, 12)
    assert not record.extras


def test_statistics_are_those_of_the_training_split(made):
    source = open_split(made, "train")
    every = np.concatenate([stored.decode(records.decode(source[i]).frames) for i in range(len(source))])
    found = weights.load_tree(made / codes.STATISTICS)
    np.testing.assert_allclose(found["mean"], every.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["std"], every.std(0), rtol=1e-5)
    summary = json.loads((made / codes.SUMMARY).read_text())
    assert summary == {
        "fps": 25.0,
        "splits": {"train": {"videos": 5, "frames": 35}, "test": {"videos": 1, "frames": 3}},
    }


def test_processes_and_devices_do_not_matter(data, made, tmp_path):
    extract(data, tmp_path / "processes", process_count=2)
    assert contents(tmp_path / "processes") == contents(made), "two processes make other codes than one"
    code = "import sys; from tests.training.test_codes import extract; extract(*sys.argv[1:])"
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(data), str(tmp_path / "devices")]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **flags})
    assert contents(tmp_path / "devices") == contents(made), "four devices make other codes than one"


def test_a_cut_off_run_keeps_its_shards(data, made, tmp_path):
    encoder = codes.Encoder(ANIMATOR, random_params(), make_mesh(), per_device=4)
    codes.begin(data, tmp_path)
    codes.write(encoder, data, tmp_path, OPTIONS, process_index=0, process_count=2, progress=False)
    with pytest.raises(ValueError, match=r"train-00001-of-00003.tfrecord is missing"):
        codes.finish(data, tmp_path, OPTIONS)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tfrecord")}
    leftover = tmp_path / ".clips-train-00001-of-00003.0a1b2c3d.tmp.tfrecord"
    leftover.touch()
    extract(data, tmp_path)
    assert contents(tmp_path) == contents(made), "leftovers stay, or something differs"
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in before.items()), "work was done twice"


def test_codes_of_another_animator_are_not_mixed(data, made):
    encoder = codes.Encoder(ANIMATOR, random_params(), make_mesh(), per_device=4)
    with pytest.raises(ValueError, match=r"animator: '0000.*' then, 'ffff.*' now"):
        codes.write(encoder, data, made, codes.options("f" * 64, 8), progress=False)


def test_data_need_a_training_split(tmp_path):
    with pytest.raises(ValueError, match="no prepared data set"):
        codes.plan(tmp_path, tmp_path)
    write_dataset(tmp_path, "clips", "test", [0], make, progress=False)
    with pytest.raises(ValueError, match="'train'"):
        codes.plan(tmp_path, tmp_path)
    assert manifest.load(tmp_path).splits.keys() == {"test"}


def test_a_dimension_that_never_changes_is_not_divided_by_zero(tmp_path):
    def still(i):
        frames = stored.encode(np.array([[i, 7.0]] * 3, np.float32))
        return [dataclasses.replace(samples.record(i), frames=frames)]

    write_dataset(tmp_path, "codes", "train", [1, 2], still, progress=False)
    mean, std, _ = codes.statistics(open_split(tmp_path, "train"))
    assert mean.tolist() == [1.5, 7.0] and std.tolist() == [0.5, 1.0]


def test_left_off_in_the_midst_of_a_shard(data, made, tmp_path):
    """As when the run is told to stop: the shard under way leaves nothing, those before it stay."""

    class Told(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 6:
            raise Told

    encoder = codes.Encoder(ANIMATOR, random_params(), make_mesh(), per_device=4, threads=2)
    codes.begin(data, tmp_path)
    with pytest.raises(Told):
        codes.write(encoder, data, tmp_path, OPTIONS, progress=False, check=check)
    names = {path.name for path in tmp_path.iterdir()}
    assert names and all(name in contents(made) for name in names), "part of a shard, or a temporary file"
    extract(data, tmp_path)
    assert contents(tmp_path) == contents(made)
