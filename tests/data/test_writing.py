"""Shards: same bytes for any number of workers, kept after a kill, never mixed, bad items named."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from leo_jax import files
from leo_jax.data import manifest, records
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from leo_jax.video import BadVideo
from tests.data import samples


def write(out, make=samples.make, items=range(10), split="train", **kwargs):
    arguments = {"num_shards": 3, "progress": False, "options": {"size": 16}, **kwargs}
    return write_dataset(out, "clips", split, list(items), make, **arguments)


def ids(out, split="train"):
    source = open_split(out, split)
    return [records.decode(source[i]).id for i in range(len(source))]


def shards(out):
    return sorted(out.glob("clips-*.tfrecord"))


def test_all_records_in_order_and_the_manifest_says_so(tmp_path):
    made = write(tmp_path)
    assert ids(tmp_path) == [f"clip-{i:04d}" for i in (0, 1, 2, 3, 103, 4, 5, 6, 7, 8, 9)]
    split = made.splits["train"]
    assert (split.records, split.frames, split.sizes) == (11, 55, ("16x16",))
    for shard in split.shards:
        assert files.sha256(tmp_path / shard.file) == shard.sha256
        assert (tmp_path / shard.file).stat().st_size == shard.bytes
    assert manifest.load(tmp_path) == made, "the manifest on disk differs from the one returned"
    assert json.loads((tmp_path / "manifest.json").read_text())["splits"]["train"]["options"] == {"size": 16}
    assert not list(tmp_path.glob(".*")), "temporary files were left"


def test_workers_do_not_change_the_files(tmp_path):
    write(tmp_path / "a", workers=0)
    write(tmp_path / "b", workers=2)
    assert [p.name for p in shards(tmp_path / "a")] == [p.name for p in shards(tmp_path / "b")]
    for a, b in zip(shards(tmp_path / "a"), shards(tmp_path / "b"), strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_splits_share_a_directory(tmp_path):
    write(tmp_path)
    made = write(tmp_path, items=range(20, 24), split="test")
    assert set(made.splits) == {"train", "test"}
    assert ids(tmp_path, "test") == [f"clip-{i:04d}" for i in range(20, 24)]


def test_goes_on_after_sigkill_and_keeps_finished_shards(tmp_path):
    code = (
        "from tests.data import samples, test_writing\nimport sys, pathlib\n"
        "test_writing.write(pathlib.Path(sys.argv[1]), samples.make_and_die)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=_root(), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in shards(tmp_path)] == [f"clips-train-0000{i}-of-00003.tfrecord" for i in (0, 1)]
    assert list(tmp_path.glob(".*.tmp.*")), "the kill was meant to leave a half-written shard behind"
    before = {p: p.stat().st_mtime_ns for p in shards(tmp_path)}
    with pytest.raises(ValueError, match="cut off"):
        open_split(tmp_path, "train")
    write(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in before} == before, "finished shards were written again"
    assert not list(tmp_path.glob(".*")), "the killed run's leftovers stayed"
    write(tmp_path / "whole")
    assert [p.read_bytes() for p in shards(tmp_path)] == [p.read_bytes() for p in shards(tmp_path / "whole")]


def test_a_deleted_or_cut_shard_is_made_again(tmp_path):
    write(tmp_path)
    whole = [p.read_bytes() for p in shards(tmp_path)]
    shards(tmp_path)[1].write_bytes(whole[1][:-5])
    shards(tmp_path)[0].unlink()
    write(tmp_path)
    assert [p.read_bytes() for p in shards(tmp_path)] == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"size": 32}}, r"other options \(size: 16 then, 32 now\)"),
        ({"items": range(11)}, "other input"),
        ({"num_shards": 2}, "2 shards are asked for"),
    ],
)
def test_other_options_or_input_do_not_mix(tmp_path, change, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        write(tmp_path, **change)


def test_another_data_set_does_not_mix(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match="'clips', not 'other'"):
        write_dataset(tmp_path, "other", "train", [1], samples.make, progress=False)


def test_what_was_skipped_is_looked_at_again_without_skip_bad(tmp_path):
    write(tmp_path, samples.make_or_refuse, skip_bad=True)
    before = {p: p.stat().st_mtime_ns for p in shards(tmp_path)}
    write(tmp_path, samples.make_or_refuse, skip_bad=True)
    assert {p: p.stat().st_mtime_ns for p in before} == before, "with it, finished shards stay"
    with pytest.raises(BadVideo, match="clip-0007"):
        write(tmp_path, samples.make_or_refuse)
    made = write(tmp_path)
    assert not made.splits["train"].skipped and "clip-0007" in ids(tmp_path)
    assert sum(p.stat().st_mtime_ns != before[p] for p in before) == 1, "only the shard that lacked it is made again"


def test_shards_of_changed_input_are_made_again(tmp_path):
    write(tmp_path, state=lambda item: 1)
    before = [p.stat().st_mtime_ns for p in shards(tmp_path)]
    write(tmp_path, state=lambda item: 2 if item == 9 else 1)
    after = [p.stat().st_mtime_ns for p in shards(tmp_path)]
    assert after[:2] == before[:2] and after[2] != before[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_item_stops_but_loses_nothing(tmp_path, workers):
    with pytest.raises(BadVideo, match=r"clip-0007\.mp4: has 1 frame"):
        write(tmp_path, samples.make_or_refuse, workers=workers)
    finished = shards(tmp_path)
    assert len(finished) == 2, "the two shards before the bad item should stand"
    before = [p.stat().st_mtime_ns for p in finished]
    made = write(tmp_path, samples.make_or_refuse, workers=workers, skip_bad=True)
    assert [p.stat().st_mtime_ns for p in finished] == before
    assert made.splits["train"].skipped == (("clip-0007.mp4", "has 1 frame, 2 are needed"),)
    assert "clip-0007" not in ids(tmp_path)
    assert len(ids(tmp_path)) == 10


def test_two_writers_exclude_each_other(tmp_path):
    code = (
        "from tests.data import samples, test_writing\nimport sys, pathlib\n"
        "test_writing.write(pathlib.Path(sys.argv[1]), samples.make_slowly, items=range(400), num_shards=1)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=_root())
    try:
        while not list(tmp_path.glob(".*.tmp.*")):
            assert other.poll() is None, "the other writer ended early"
            time.sleep(0.05)
        with pytest.raises(ValueError, match="another process is writing"):
            write(tmp_path)
    finally:
        other.kill()
        other.wait()
    write(tmp_path)
    assert len(ids(tmp_path)) == 11


def test_no_items_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no items"):
        write(tmp_path, items=[])


def _root():
    return os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
