"""Damage to prepared data: seen at the start where that is cheap, all of it when asked, else where it is read."""

import shutil

import numpy as np
import pytest

from leo_jax import cli
from leo_jax.data import pipeline, tfrecord
from leo_jax.data.source import open_split
from leo_jax.data.verify import check_quickly, verify
from leo_jax.data.writing import write_dataset
from tests.data import samples

SIZE = 16


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    write_dataset(out, "clips", "train", list(range(50, 62)), samples.make, num_shards=3, progress=False)
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def shard(folder, number=1):
    return sorted(folder.glob("*.tfrecord"))[number]


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def flip_frame(folder, record=2, frame=3, number=1):
    """Damages one frame of a record of a shard; returns the shard."""
    path = shard(folder, number)
    index = tfrecord.load_index(str(path))
    flip(path, int(index.frame_offsets[int(index.first_frame[record]) + frame]) + 20)
    return path


def other_shard(folder):
    """A shard of other videos with its index, whole in itself."""
    out = folder.parent / "other"
    write_dataset(out, "clips", "train", list(range(20, 32)), samples.make, num_shards=3, progress=False)
    for suffix in ("", ".index"):
        shutil.copy(f"{shard(out)}{suffix}", f"{shard(folder)}{suffix}")


def remake(folder, records):
    """A shard with another number of records and an index that fits it."""
    path = shard(folder)
    kept = [samples.record(i) for i in records]
    path.write_bytes(b"".join(tfrecord.frame_record(samples.records.encode(record)) for record in kept))
    tfrecord.reindex(str(path))


def test_what_is_whole_passes(whole, capsys):
    check_quickly(whole)
    assert verify(whole, progress=False) == []
    cli.main(["verify", str(whole)])
    assert "whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: shard(folder).write_bytes(shard(folder).read_bytes()[:-100]), "cut short"),
        (lambda folder: shard(folder).unlink(), "is missing"),
        (lambda folder: shard(folder).with_name(shard(folder).name + ".index").unlink(), "has no index"),
        (lambda folder: remake(folder, range(54, 57)), "has changed since manifest.json was written: 3 records"),
    ],
    ids=["truncated", "no shard", "no index", "changed"],
)
def test_seen_without_reading_the_shards(copy, damage, told):
    name = shard(copy).name
    damage(copy)
    with pytest.raises(ValueError, match=told) as caught:
        check_quickly(copy)
    assert name in str(caught.value), "the shard is not named"
    assert any(name in line for line in verify(copy, progress=False)), "the full check overlooks it"


def test_a_damaged_frame_is_found_by_the_full_check(copy):
    path = flip_frame(copy)
    check_quickly(copy)  # nothing to be seen there
    problems = verify(copy, progress=False)
    assert any(f"{path}, record 2" in line and "checksum mismatch" in line for line in problems), problems
    assert any("SHA-256" in line for line in problems)
    assert not any("record 1" in line or "record 3" in line for line in problems), "whole records are accused"


def test_a_flipped_byte_is_found_wherever_it_is(copy):
    """In a record's length, the checksum of that, its data or their checksum; and in the index."""
    path = shard(copy)
    index = tfrecord.load_index(str(path))
    offset, length = int(index.offsets[1]), int(index.lengths[1])
    for position in (offset - 12, offset - 4, offset, offset + length - 1, offset + length + 3):
        flip(path, position)
        problems = verify(copy, progress=False)
        assert any(f"{path}, record 1 " in line for line in problems), (position - offset, problems)
        flip(path, position)
    flip(path.with_name(f"{path.name}.index"), 100)
    assert any("is damaged" in line and path.name in line for line in verify(copy, progress=False))
    with pytest.raises(ValueError, match="is damaged"):
        check_quickly(copy)


def test_another_shard_of_the_same_size_is_found_by_its_hash(copy):
    size = shard(copy).stat().st_size
    other_shard(copy)
    assert shard(copy).stat().st_size == size, "the case is not what it is meant to be"
    check_quickly(copy)
    (problem,) = verify(copy, progress=False)
    assert f"{shard(copy)} is not the shard of the manifest" in problem


def test_the_command_lists_damage(copy, tmp_path):
    flip_frame(copy)
    with pytest.raises(SystemExit, match=r"record 2 .*checksum mismatch"):
        cli.main(["verify", str(copy)])
    with pytest.raises(SystemExit, match=r"no manifest\.json"):
        cli.main(["verify", str(tmp_path)])


def pairs(folder, on_corrupt, **place):
    source = open_split(folder, "train")
    return pipeline.pairs(source, batch_size=8, seed=3, size=SIZE, threads=2, on_corrupt=on_corrupt, **place)


def take(iterators, steps):
    parts = [[next(iterator) for iterator in iterators] for _ in range(steps)]
    return [{name: np.concatenate([part[name] for part in row]) for name in row[0]} for row in parts]


def test_a_damaged_record_ends_the_input(copy):
    path = shard(copy)
    for frame in range(5):
        flip_frame(copy, frame=frame)
    with pytest.raises(tfrecord.DamagedRecord, match=rf"{path.name}, record 2, frame \d"):
        take([pairs(copy, "raise")], 4)


def test_or_another_one_takes_its_place(whole, copy, capfd):
    """Same batches else; counted; said once; the same for any number of processes, and after going on."""
    for frame in range(5):
        flip_frame(copy, frame=frame)
    clean, steps = take([pairs(whole, "raise")], 6), 6
    skipping = pairs(copy, "skip")
    found = take([skipping], steps)
    damaged = [(batch["source"][:, 0, 0, 0] == 56) for batch in clean]  # record 2 of shard 1 is number 56
    assert sum(rows.sum() for rows in damaged) == 4, "one in each of four epochs"
    for batch, expected, rows in zip(found, clean, damaged, strict=True):
        np.testing.assert_array_equal(batch["input_skipped"], rows)
        for name in ("source", "driving"):
            np.testing.assert_array_equal(batch[name][~rows], expected[name][~rows])
            assert (batch[name][rows][:, 0, 0, 0] != 56).all()
    assert 1 <= capfd.readouterr().err.count("record 2, frame") <= 5, "damage is told never, or again and again"

    two = [pairs(copy, "skip", process_index=i, process_count=2) for i in range(2)]
    again = pairs(copy, "skip")
    take([again], 2)
    resumed = pairs(copy, "skip")
    resumed.set_state(again.get_state())
    for other, same in ((take(two, steps), found), (take([resumed], 4), found[2:])):
        for a, b in zip(other, same, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in b)


def test_stand_ins_are_spread(whole):
    chosen = [pipeline.stand_in(i, attempt, 12) for i in range(100) for attempt in range(5)]
    counts = np.bincount(chosen, minlength=12)
    assert counts.min() > 20 and counts.max() < 70, "some take more damage's place than others"


def test_nothing_but_damage_is_an_error(copy):
    for path in copy.glob("*.tfrecord"):
        index = tfrecord.load_index(str(path))
        for offset in index.frame_offsets.tolist():
            flip(path, offset + 20)
    with pytest.raises(tfrecord.DamagedRecord):
        take([pairs(copy, "skip")], 1)


def test_passing_over_batches_reads_none(whole):
    one, other = pairs(whole, "raise"), pairs(whole, "raise")
    take([one], 3)
    other.skip(3)
    assert one.get_state() == other.get_state()
    assert np.array_equal(next(one)["source"], next(other)["source"])


def test_unknown_policy(whole):
    with pytest.raises(ValueError, match="on_corrupt 'ignore': 'raise' or 'skip'"):
        pairs(whole, "ignore")
