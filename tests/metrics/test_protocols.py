"""Protocols are frozen, their overrides show, and their clips are those that the authors' code takes."""

import dataclasses

import numpy as np
import pytest

from leo_jax.metrics.clips import Clip, draws, fake_clips, real_clips
from leo_jax.metrics.protocols import PROTOCOLS, protocol


def test_names_and_numbers():
    assert set(PROTOCOLS) == {"digan", "digan-taichi", "digan-taichi-128f", "styleganv-16f", "styleganv-128f",
                              "styleganv-128f-s8", "tf-original"}  # fmt: skip
    taichi = protocol("digan-taichi")
    assert (taichi.frames, taichi.spacing, taichi.span, taichi.count, taichi.trials) == (16, 4, 61, 2048, 10)
    assert (taichi.epsilon, taichi.ddof, taichi.rounding, taichi.resolution) == (1e-5, 1, "truncate", 128)
    eight = protocol("styleganv-128f-s8")
    assert (eight.frames, eight.spacing, eight.epsilon, eight.ddof, eight.trials) == (16, 8, 1e-3, 0, 1)
    assert all(key == value.name for key, value in PROTOCOLS.items())


def test_overrides_show_in_the_name():
    changed = protocol("digan-taichi", resolution=256, trials=3)
    assert changed.name == "digan-taichi+resolution=256+trials=3"
    assert (changed.resolution, changed.trials, changed.epsilon) == (256, 3, 1e-5)
    assert protocol("digan-taichi", resolution=128) == PROTOCOLS["digan-taichi"], "the same value is no change"
    assert protocol("digan", resolution=None, epsilon=1).name == "digan+resolution=None+epsilon=1.0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.trials = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "no field.*colour"),
        ({"name": "mine"}, "no field.*name"),
        ({"frames": 8}, "9 or more"),
        ({"resize": "cubic"}, "cubic.*none of"),
        ({"trials": 0}, "trials=0"),
        ({"ddof": 2}, "ddof=2"),
        ({"ddof": True}, "ddof=True must be of type int, as 1 is"),
        ({"frames": "many"}, "frames='many' must be of type int, as 16 is"),
        ({"resolution": 0}, "resolution=0"),
        ({"spacing": 1.5}, "spacing=1.5"),
        ({"epsilon": "small"}, "epsilon='small'"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"metrics": "fvd"}, "metrics='fvd'"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        protocol("digan", **changes)


def test_unknown_protocol_lists_the_known():
    with pytest.raises(ValueError, match="digan-taichi, "):
        protocol("fvd")


def test_taichi_chunks_give_four_interleaved_clips():
    """64 frames give frames 0, 4, … 60 · 1, 5, … 61 · 2, … · 3, …: each frame once; the tail gives nothing."""
    clips = real_clips([130, 63], protocol("digan-taichi"))
    assert len(clips) == 8 and {clip.video for clip in clips} == {0}
    used = sorted(i for clip in clips for i in clip.indices)
    assert used == list(range(128))
    assert list(clips[1].indices) == list(range(1, 62, 4))


def test_prepared_with_a_stride_needs_fewer_frames():
    """Videos stored with every second source frame: chunks of 32 stored frames, two interleaved clips."""
    clips = real_clips([32], protocol("digan-taichi"), stride=2)
    assert clips == [Clip(0, 0, 2, 16), Clip(0, 1, 2, 16)]
    with pytest.raises(ValueError, match=r"4 source frames apart, those of the real videos lie 3 apart"):
        real_clips([100], protocol("digan-taichi"), stride=3)


def test_styleganv_takes_one_clip_a_video():
    lengths = [15, 16, 1000, 40]
    clips = real_clips(lengths, protocol("styleganv-16f"), seed=1)
    assert [clip.video for clip in clips] == [1, 2, 3], "short videos are dropped"
    assert clips[0].start == 0 and clips[1].start != 0
    assert all(clip.indices[-1] < lengths[clip.video] for clip in clips)
    assert clips == real_clips(lengths, protocol("styleganv-16f"), seed=1), "a seed gives the same clips"
    assert len(real_clips([20] * 9, protocol("styleganv-16f", count=5))) == 5


def test_generated_videos_give_their_first_clip():
    assert fake_clips([60, 61], protocol("digan-taichi")) == [Clip(1, 0, 4, 16)]
    assert fake_clips([16], protocol("digan-taichi"), stride=4) == [Clip(0, 0, 1, 16)]


def test_draws_are_without_replacement_and_repeatable():
    some = protocol("digan", count=50)
    trials = draws(200, some, seed=0, side="real")
    assert len(trials) == 10 and all(len(set(trial)) == 50 for trial in trials)
    assert not np.array_equal(trials[0], trials[1]), "trials draw anew"
    np.testing.assert_array_equal(trials[3], draws(200, some, seed=0, side="real")[3])
    assert not np.array_equal(trials[0], draws(200, some, seed=0, side="fake")[0])
    np.testing.assert_array_equal(draws(30, some, seed=0, side="real")[0], np.arange(30))
