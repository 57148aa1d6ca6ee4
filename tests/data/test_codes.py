"""Codes on disk: what is written is read, windows lie where they should, and every code belongs to its picture."""

import dataclasses

import numpy as np
import pytest

from leo_jax.data import codes, pipeline, records
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from tests.data import samples

LENGTHS = (5, 9, 3, 12)  # frames of the videos
DIM = 3


def video(i):
    return [samples.record(i, frames=LENGTHS[i])]


def code(i):
    """Codes (video, frame, 0.5) of video i, as a record."""
    values = np.stack([np.full(LENGTHS[i], i), np.arange(LENGTHS[i]), np.full(LENGTHS[i], 0.5)], -1)
    frames = codes.encode(values.astype(np.float32))
    return [dataclasses.replace(samples.record(i), frames=frames, height=1, width=DIM, end=LENGTHS[i])]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """(videos, their codes), in different numbers of shards."""
    out = tmp_path_factory.mktemp("data")
    for name, make, shards in (("videos", video, 3), ("codes", code, 2)):
        write_dataset(out / name, "clips", "train", list(range(4)), make, num_shards=shards, progress=False)
    return open_split(out / "videos", "train"), open_split(out / "codes", "train")


def take(example, batches, batch_size=8):
    iterator = pipeline.Batches(example, batch_size, seed=3, threads=1)
    drawn = [next(iterator) for _ in range(batches)]
    iterator.close()
    return {name: np.concatenate([batch[name] for batch in drawn]) for name in drawn[0]}


def test_codes_survive_storage():
    values = np.random.default_rng(0).normal(size=(7, 20)).astype(np.float32)
    np.testing.assert_array_equal(codes.decode(codes.encode(values)), values)


def test_frames_of_a_record_are_read_at_once(sources, monkeypatch):
    videos, source = sources
    reads = []
    original = source._reader.read
    monkeypatch.setattr(source._reader, "read", lambda *place: reads.append(place) or original(*place))
    np.testing.assert_array_equal(codes.decode(source.frames(1, 2, 5))[:, 1], np.arange(2, 7))
    assert len(reads) == 1
    assert videos.frames(3, 4, 8) == list(records.decode(videos[3]).frames[4:])
    with pytest.raises(IndexError, match="no frames 5 to 9"):
        source.frames(1, 5, 5)


def test_damaged_code_is_named(sources, monkeypatch):
    _, source = sources
    original = source._reader.read
    monkeypatch.setattr(source._reader, "read", lambda *place: original(*place)[:-1] + b"\x99")
    with pytest.raises(ValueError, match=r"record 1, frame 6 .*checksum"):
        source.frames(1, 2, 5)


@pytest.mark.parametrize(("length", "stride"), [(4, 1), (2, 3), (3, 4)])
def test_windows_are_consecutive_and_uniform(sources, length, stride):
    window = codes.Window(sources[1], length, DIM, stride)
    span = (length - 1) * stride + 1
    kept = [i for i, n in enumerate(LENGTHS) if n >= span]
    assert (window.kept.tolist(), window.dropped) == (kept, len(LENGTHS) - len(kept))
    drawn = take(window, 150)["codes"]
    assert drawn.dtype == np.float32 and drawn.shape == (1200, length, DIM)
    assert np.all(drawn[:, :, 0] == drawn[:, :1, 0]), "a window crosses videos"
    assert np.all(np.diff(drawn[:, :, 1], axis=1) == stride)
    for i in kept:
        starts = drawn[drawn[:, 0, 0] == i, 0, 1]
        counts = np.bincount(starts.astype(int), minlength=LENGTHS[i] - span + 1)
        assert len(counts) == LENGTHS[i] - span + 1, "a window begins too late, or the last place is never reached"
        expected = len(starts) / len(counts)
        assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected)), counts


def test_windows_longer_than_every_video_say_what_to_do(sources):
    with pytest.raises(ValueError, match=r"13 frames that 5 codes at data.stride = 3 span, the longest has 12: lower"):
        codes.Window(sources[1], 5, DIM, 3)


def test_an_epoch_of_single_codes_has_each_frame_once(sources):
    drawn = take(codes.Single(sources[1], DIM), 1, batch_size=sum(LENGTHS))["codes"]
    assert sorted(map(tuple, drawn[:, :2].tolist())) == [(i, t) for i, n in enumerate(LENGTHS) for t in range(n)]


def test_pictures_belong_to_their_codes(sources):
    videos, source = sources
    single = take(codes.Single(source, DIM, videos, size=8), 4)
    window = take(codes.Window(source, 3, DIM, videos=videos, size=8), 4)
    for code, image in zip(single["codes"], single["images"], strict=True):
        assert code[:2].tolist() == image[0, 0, :2].tolist()
    for code, image in zip(window["codes"][:, 0], window["images"], strict=True):
        assert code[:2].tolist() == image[0, 0, :2].tolist()
    assert single["images"].shape[1:] == (8, 8, 3) and single["images"].dtype == np.uint8


def test_codes_of_other_videos_are_refused(sources, tmp_path):
    write_dataset(tmp_path, "clips", "train", [0, 1], video, progress=False)
    with pytest.raises(ValueError, match="29 codes do not belong to 14 frames"):
        codes.Single(sources[1], DIM, open_split(tmp_path, "train"), size=8)


def test_fixed_examples_are_spread_and_repeatable(sources):
    single = codes.Single(sources[1], DIM)
    drawn = pipeline.fixed(single, 4, seed=1)["codes"]
    assert drawn[:, :2].tolist() == [[0, 0], [1, 2], [2, 0], [3, 4]]  # frames 0, 7, 14, 21 of 29
    window = codes.Window(sources[1], 2, DIM)
    one, same, other = (pipeline.fixed(window, 16, seed)["codes"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def pieces(*shape):
    """Records of clips cut into `shape` pieces each, of two frames."""
    made = []
    for clip, count in enumerate(shape):
        for i in range(count):
            extras = {records.CHUNK: np.array([i, count], np.int32)} if count > 1 else {}
            frames = (f"{clip}-{2 * i}".encode(), f"{clip}-{2 * i + 1}".encode())
            record = records.VideoRecord(
                f"{clip}#{i}", "train", 25.0, str(clip), 2 * i, 2 * i + 2, 8, 8, frames, extras
            )
            made.append(record)
    return made


def test_pieces_of_a_clip_are_joined_and_clips_are_not():
    found = list(codes.joined(pieces(1, 3, 1, 2)))
    assert [(r.source, r.start, r.end, len(r.frames)) for r in found] == [
        ("0", 0, 2, 2),
        ("1", 0, 6, 6),
        ("2", 0, 2, 2),
        ("3", 0, 4, 4),
    ]
    assert [r.id for r in found] == ["0#0", "1#000000-000006", "2#0", "3#000000-000004"]
    assert [f.decode() for r in found for f in r.frames] == [f.decode() for r in pieces(1, 3, 1, 2) for f in r.frames]


def test_a_missing_piece_is_an_error():
    with pytest.raises(ValueError, match=r"record 1#1 is piece 1 of 2"):
        list(codes.joined(pieces(1, 2)[:1] + pieces(1, 2)[2:]))
