"""Random access: right bytes, every flipped byte found and named, local and remote alike."""

import pickle
import shutil

import fsspec
import numpy as np
import pytest

from leo_jax.data import records, tfrecord
from leo_jax.data.source import TFRecordSource, open_split
from leo_jax.data.writing import write_dataset
from tests.data import samples


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    write_dataset(out, "clips", "train", list(range(10)), samples.make, num_shards=3, progress=False)
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def numbers(source):
    return [int(records.decode(source[i]).id[5:]) for i in range(len(source))]


def test_any_order(whole):
    source = open_split(whole, "train")
    assert len(source) == 11
    for i in np.random.default_rng(0).permutation(len(source)):
        expected = [0, 1, 2, 3, 103, 4, 5, 6, 7, 8, 9][i]
        assert source[i] == records.encode(samples.record(expected))


def test_single_frames_equal_those_of_the_whole_record(whole):
    source = open_split(whole, "train")
    assert source.frame_counts.tolist() == [5] * 11
    for i in range(len(source)):
        assert tuple(source.frame(i, t) for t in range(5)) == records.decode(source[i]).frames


def test_out_of_range(whole):
    source = open_split(whole, "train")
    for i in (-1, 11):
        with pytest.raises(IndexError):
            source[i]
    for t in (-1, 5):
        with pytest.raises(IndexError, match="no frame"):
            source.frame(0, t)


def test_every_flipped_byte_of_a_record_is_found(copy):
    path = next(iter(sorted(copy.glob("*.tfrecord"))))
    original = path.read_bytes()
    index = tfrecord.load_index(str(path))
    start = int(index.offsets[1]) - tfrecord.HEADER
    end = int(index.offsets[1] + index.lengths[1]) + tfrecord.FOOTER
    for position in [*range(start, start + 40), *range(start + 40, end, 37), end - 1]:
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        source = TFRecordSource([path])
        with pytest.raises(tfrecord.DamagedRecord, match=rf"{path.name}, record 1 \(byte {start}\)"):
            source[1]
        assert records.decode(source[0]).id == "clip-0000", "the other records stay readable"


def test_a_flipped_byte_in_a_frame_is_found(copy):
    path = next(iter(sorted(copy.glob("*.tfrecord"))))
    index = tfrecord.load_index(str(path))
    at = int(index.first_frame[2]) + 3
    damaged = bytearray(path.read_bytes())
    damaged[index.frame_offsets[at] + 10] ^= 4
    path.write_bytes(damaged)
    source = TFRecordSource([path])
    with pytest.raises(tfrecord.DamagedRecord, match="record 2, frame 3"):
        source.frame(2, 3)
    assert source.frame(2, 2) == samples.record(2).frames[2]


def test_a_cut_shard_is_refused(copy):
    path = next(iter(sorted(copy.glob("*.tfrecord"))))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut short"):
        open_split(copy, "train")


@pytest.mark.parametrize("damage", ["missing", "flipped", "empty"])
def test_a_bad_index_is_named_and_can_be_rebuilt(copy, damage):
    path = str(next(iter(sorted(copy.glob("*.tfrecord")))))
    index = tfrecord.index_path(path)
    with open(index, "rb") as file:
        content = file.read()
    if damage == "missing":
        (copy / index).unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        (copy / index).write_bytes(b"" if damage == "empty" else flipped)
    with pytest.raises(ValueError, match="leo reindex"):
        open_split(copy, "train")
    tfrecord.reindex(path)
    assert (copy / index).read_bytes() == content, "the rebuilt index differs"
    assert len(numbers(open_split(copy, "train"))) == 11


def test_the_command_rebuilds_indices(copy, capsys):
    cli = pytest.importorskip("leo_jax.cli")
    paths = sorted(str(path) for path in copy.glob("*.tfrecord"))
    for path in paths:
        (copy / tfrecord.index_path(path)).unlink()
    cli.main(["reindex", *paths])
    assert capsys.readouterr().out.count("records") == 3
    assert len(numbers(open_split(copy, "train"))) == 11


def test_a_flipped_byte_of_an_index_is_found(copy):
    path = next(iter(sorted(copy.glob("*.tfrecord"))))
    index = copy / tfrecord.index_path(str(path))
    content = index.read_bytes()
    for position in range(0, len(content), 11):
        index.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            tfrecord.load_index(str(path))


def test_scanning_finds_damage_too(copy):
    path = next(iter(sorted(copy.glob("*.tfrecord"))))
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(tfrecord.DamagedRecord, match="record 2"):
        tfrecord.reindex(str(path))


def test_remote_directories(whole):
    filesystem = fsspec.filesystem("memory")
    for path in whole.iterdir():
        filesystem.pipe(f"/bucket/clips/{path.name}", path.read_bytes())
    remote, local = open_split("memory://bucket/clips", "train"), open_split(whole, "train")
    assert [remote[i] for i in range(11)] == [local[i] for i in range(11)]
    assert remote.frame(4, 2) == local.frame(4, 2)
    name = remote.paths[0].removeprefix("memory:/")
    damaged = bytearray(filesystem.cat_file(name))
    damaged[100] ^= 1
    filesystem.pipe(name, bytes(damaged))
    with pytest.raises(tfrecord.DamagedRecord, match=r"memory://bucket/clips/clips-train-00000.*record 0"):
        remote[0]


def test_pickling_drops_open_files(whole):
    source = open_split(whole, "train")
    first = source[0]
    again = pickle.loads(pickle.dumps(source))
    assert again[0] == first
    assert again.frame(10, 4) == source.frame(10, 4)


def test_not_a_data_set(tmp_path, whole):
    with pytest.raises(ValueError, match="manifest"):
        open_split(tmp_path, "train")
    with pytest.raises(ValueError, match=r"no split 'test'; it has \['train'\]"):
        open_split(whole, "test")


def test_tensorflow_reads_the_shards(whole):
    tf = pytest.importorskip("tensorflow")
    paths = [str(path) for path in sorted(whole.glob("*.tfrecord"))]
    source = open_split(whole, "train")
    assert list(tf.data.TFRecordDataset(paths).as_numpy_iterator()) == [source[i] for i in range(11)]
