"""Held-out pairs are fixed, distinct frames of one video, and know where the figure is."""

import numpy as np
import pytest

from leo_jax.data import heldout, puppets, records
from leo_jax.data.source import open_split


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    out = tmp_path_factory.mktemp("puppets")
    puppets.make_dataset(out, num_train=1, num_test=5, frames=6, size=32, preset="easy", progress=False)
    return open_split(out, "test")


def test_pairs_are_a_function_of_the_arguments(split):
    one, same = (heldout.pairs(split, number=8, size=32, seed=0) for _ in range(2))
    other = heldout.pairs(split, number=8, size=32, seed=1)
    assert np.array_equal(one.source, same.source) and np.array_equal(one.driving, same.driving)
    assert not np.array_equal(one.source, other.source)


def test_both_frames_are_of_one_video_and_differ(split):
    pairs = heldout.pairs(split, number=5, size=32, seed=0)
    videos = [records.decode(split[i]) for i in range(5)]
    for i, video in enumerate(videos):
        frames = [records.decode_frame(frame) for frame in video.frames]
        at = [[np.array_equal(frame, image) for frame in frames] for image in (pairs.source[i], pairs.driving[i])]
        assert any(at[0]) and any(at[1]), f"pair {i} is not of video {i}: the records are not spread evenly"
        assert at[0] != at[1], f"pair {i} is one frame twice"


def test_moving_region_covers_what_differs(split):
    pairs = heldout.pairs(split, number=8, size=32, seed=0)
    differs = np.any(np.abs(pairs.source.astype(int) - pairs.driving.astype(int)) > 40, axis=-1)
    assert differs.any(), "the pairs do not move, so this test says nothing"
    assert pairs.moving[differs].mean() > 0.9, "silhouettes do not cover the pixels that change"
    assert 0.02 < pairs.moving.mean() < 0.6


def test_smaller_frames(split):
    pairs = heldout.pairs(split, number=3, size=16, seed=0)
    assert pairs.source.shape == (3, 16, 16, 3) and pairs.moving.shape == (3, 16, 16)
