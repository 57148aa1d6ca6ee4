"""Batches: a true permutation an epoch, the same global batches for any number of processes, exact positions."""

import collections
import json

import numpy as np
import pytest

from leo_jax.data import augment, pipeline
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from tests.data import samples

SIZE = 16


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("clips")
    write_dataset(out, "clips", "train", list(range(50, 62)), samples.make, num_shards=3, progress=False)
    return open_split(out, "train")


def open_pairs(source, batch_size=8, seed=3, **kwargs):
    return pipeline.pairs(source, batch_size=batch_size, seed=seed, size=SIZE, threads=2, **kwargs)


def drawn(batch):
    """(record, frame of the source, frame of the driving) of each pair: samples.record paints them into the pixels."""
    s, d = batch["source"][:, 0, 0], batch["driving"][:, 0, 0]
    assert (s[:, 0] == d[:, 0]).all(), "source and driving come from different videos"
    return list(zip(s[:, 0].tolist(), s[:, 1].tolist(), d[:, 1].tolist(), strict=True))


def take(iterators, steps):
    """The global batches of several processes: their parts one after the other."""
    result = []
    for _ in range(steps):
        parts = [next(iterator) for iterator in iterators]
        result.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return result


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x)


def test_shapes_and_distinct_frames(source):
    batch = next(open_pairs(source))
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        name: ((8, SIZE, SIZE, 3), np.uint8) for name in ("source", "driving")
    }
    assert all(s != d for batch in take([open_pairs(source)], 20) for _, s, d in drawn(batch))


def test_both_frames_of_a_pair_get_the_same_augmentation(tmp_path):
    """In a video that stands still they stay equal, whatever was drawn for the pair; stored are 32 px, trained on are 16."""
    write_dataset(tmp_path, "stills", "train", [0, 1], samples.make_still, num_shards=1, progress=False)
    batches = take([open_pairs(open_split(tmp_path, "train"), augmentation="taichi")], 4)
    for batch in batches:
        assert batch["source"].shape == (8, 32, 32, 3), "what is cropped later is as large as it was stored"
        np.testing.assert_array_equal(batch["source"], batch["driving"])
        assert ((batch["colour"] != 0).sum(1) == 1).all(), (
            "one change of each pair's colours, to be made of both frames"
        )
    pictures = np.concatenate([batch["source"] for batch in batches]).reshape(32, -1)
    assert len(np.unique(pictures, axis=0)) == 4, "two pictures, and both mirrored"
    squares = np.concatenate([batch["square"] for batch in batches])
    assert (squares[:, 2] == 28).all() and set(squares[:, :2].ravel()) == set(range(5))


def test_frames_of_other_sizes_are_brought_to_one(tmp_path):
    make = lambda i: [samples.record(i, size=(16, 24, 8)[i % 3], lossless=i < 3)]
    write_dataset(tmp_path, "mixed", "train", list(range(6)), make, num_shards=1, progress=False)
    source = open_split(tmp_path, "train")
    for augmentation, side in (("none", SIZE), ("taichi", 16)):
        batch = next(open_pairs(source, batch_size=6, augmentation=augmentation))
        assert batch["source"].shape[1:3] == (side, side)
        found = sorted((round(float(image[..., 0].mean())), int(np.ptp(image[..., 0]))) for image in batch["source"])
        assert found == [(i, 0) for i in range(6)], "each is one colour, its number"


def test_the_size_to_crop_from_is_that_of_a_frame_that_can_be_read(tmp_path):
    write_dataset(tmp_path, "clips", "train", list(range(4)), samples.make, num_shards=1, progress=False)
    source = open_split(tmp_path, "train")
    offset = int(source.indices[0].frame_offsets[0])
    with open(source.paths[0], "r+b") as file:
        file.seek(offset + 20)
        file.write(b"\xff\x00")
    batch = next(open_pairs(open_split(tmp_path, "train"), batch_size=4, augmentation="taichi", on_corrupt="skip"))
    assert batch["source"].shape == (4, 16, 16, 3)


def test_every_epoch_is_another_permutation(source):
    seen = [i for batch in take([open_pairs(source)], 9) for i, _, _ in drawn(batch)]
    epochs = [tuple(seen[at : at + 12]) for at in range(0, 72, 12)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50, 62)), "an epoch left out a video or showed one twice"
    assert len(set(epochs)) == len(epochs), "epochs repeat their order"
    assert epochs[0] != tuple(range(50, 62)), "the order is not shuffled"


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_gives_the_same_batches(source, count):
    options = {"augmentation": "taichi"}
    alone = take([open_pairs(source, **options)], 5)
    several = [open_pairs(source, process_index=i, process_count=count, **options) for i in range(count)]
    assert same(take(several, 5), alone)


def test_position_survives_4_to_2_to_1_processes(source):
    def opened(count):
        return [open_pairs(source, process_index=i, process_count=count) for i in range(count)]

    uninterrupted = take(opened(1), 9)
    got, state = [], None
    for count in (4, 2, 1):
        iterators = opened(count)
        for iterator in iterators:
            if state is not None:
                iterator.set_state(json.loads(json.dumps(state)))
        got += take(iterators, 3)
        states = [iterator.get_state() for iterator in iterators]
        assert all(other == states[0] for other in states), "processes disagree about the position"
        state = states[0]
    assert same(got, uninterrupted)


def test_going_back_repeats(source):
    iterator = open_pairs(source, augmentation="ted")
    take([iterator], 2)
    state = iterator.get_state()
    first = take([iterator], 3)
    iterator.set_state(state)
    assert same(take([iterator], 3), first)


def test_another_batch_size_goes_on_with_the_next_example(source):
    iterator = open_pairs(source, batch_size=4)
    before = [pair for batch in take([iterator], 3) for pair in drawn(batch)]
    larger = open_pairs(source, batch_size=6)
    larger.set_state(iterator.get_state())
    whole = [pair for batch in take([open_pairs(source, batch_size=2)], 12) for pair in drawn(batch)]
    assert before + drawn(next(larger)) + drawn(next(larger)) == whole


def test_worker_processes_give_the_same(source):
    iterator = open_pairs(source, workers=1)
    assert same(take([iterator], 3), take([open_pairs(source)], 3))
    state = iterator.get_state()
    iterator.close()
    follower = open_pairs(source)
    follower.set_state(state)
    assert same(take([follower], 1), take([open_pairs(source)], 4)[3:])


def test_seeds_differ(source):
    assert not same(take([open_pairs(source, seed=3)], 2), take([open_pairs(source, seed=4)], 2))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pairs_are_uniform_over_all_allowed(stride):
    rng = np.random.default_rng(0)
    count, throws = 7, 40_000
    counts = collections.Counter(pipeline.choose_pair(count, stride, *rng.random(3)) for _ in range(throws))
    allowed = {(a, b) for a in range(count) for b in range(count) if a != b and (a - b) % stride == 0}
    assert set(counts) == allowed
    expected = throws / len(allowed)
    chi2 = sum((n - expected) ** 2 / expected for n in counts.values())
    assert chi2 < len(allowed) + 5 * np.sqrt(2 * len(allowed)), f"chi² {chi2:.0f} for {len(allowed)} kinds of pairs"


def test_pairs_keep_to_the_ends_of_the_dice():
    almost = np.nextafter(1.0, 0.0)
    for dice in ((0.0, 0.0, 0.0), (almost, almost, almost)):
        s, d = pipeline.choose_pair(7, 3, *dice)
        assert s != d and 0 <= min(s, d) and max(s, d) < 7 and (s - d) % 3 == 0


def test_dice_are_uniform_and_belong_to_their_position():
    rows = pipeline.throw(5, 1000, 4000)
    np.testing.assert_array_equal(rows[100:110], pipeline.throw(5, 1100, 10))
    assert abs(rows.mean() - 0.5) < 0.01 and rows.min() >= 0 and rows.max() < 1
    assert len(np.unique(rows)) == rows.size, "dice repeat"


def test_only_two_frames_are_read(source, monkeypatch):
    reads = []
    original = source._reader.read
    monkeypatch.setattr(source._reader, "read", lambda *place: reads.append(place) or original(*place))
    example = pipeline.Pair(source, SIZE, augment.AUGMENTATIONS["none"])
    example.fill(0, pipeline.throw(0, 0, 1)[0], {n: np.empty(s.shape, s.dtype) for n, s in example.arrays.items()})
    assert len(reads) == 2
    assert sum(length for _, _, length in reads) < len(source[0]) / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 6, "process_count": 4}, "batch_size 6 is for all 4 processes"),
        ({"stride": 5}, "record 0 has 5 frames, pairs at stride 5 need 6"),
        ({"augmentation": "rotate"}, "unknown augmentation 'rotate'"),
    ],
)
def test_what_cannot_work_is_said_at_once(source, change, message):
    with pytest.raises(ValueError, match=message):
        open_pairs(source, **change)


def test_too_little_shared_memory_for_workers_is_told(source, monkeypatch):
    disk = collections.namedtuple("disk", "free")
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda place: disk(2 * 7 * 2 * 2 * 16 * 16 * 3 - 1))
    made = pipeline.pairs(source, batch_size=2, seed=0, size=16, workers=2)
    with pytest.raises(OSError, match=r"2 workers may need 0 MB .*batches of 2: give it memory"):
        next(made)
