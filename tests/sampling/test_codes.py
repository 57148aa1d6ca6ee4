"""Codes: the pieces a video is made of, what they depend on, and what a model without a stage says."""

import itertools

import numpy as np
import pytest

import leo_jax
from leo_jax.sampling.codes import limited
from tests import tiny_model
from tests.tiny_model import BRIDGE, CODE_DIM, LENGTH

STEPS = 2
START = np.asarray([0.9, 1.0, 1.1], np.float32)
CLOSE = {"rtol": 0, "atol": 1e-5}  # of codes near 1: float32's rounding, a few times over


def sample(leo, **given):
    return leo.sample_codes(**{"steps": STEPS, "start": START, **given})


def test_begins_exactly_with_the_start_code(leo):
    codes = sample(leo, frames=LENGTH, num=2)
    assert codes.shape == (2, LENGTH, CODE_DIM) and codes.dtype == np.float32
    np.testing.assert_array_equal(codes[:, 0], [START, START])
    assert np.abs(codes[0, 1:] - codes[1, 1:]).max() > 1e-3, "two videos of one seed are the same"
    own = sample(leo, start=np.stack([START, START + 1]), frames=LENGTH, num=2)
    np.testing.assert_array_equal(own[:, 0], [START, START + 1])
    np.testing.assert_allclose(own[0], codes[0], **CLOSE)


@pytest.mark.parametrize("transition", [False, True])
def test_a_video_depends_on_seed_and_index_alone(leo, transition, monkeypatch):
    monkeypatch.setattr(leo.sampler, "batch_size", 2)
    make = lambda **given: sample(leo, start=None, frames=3 * LENGTH, transition=transition, **given)
    three = make(num=3)  # one batch and a padded one
    np.testing.assert_allclose(make(num=1, first=2), three[2:], **CLOSE)
    np.testing.assert_allclose(make(num=2, first=1), three[1:], **CLOSE)
    np.testing.assert_array_equal(make(num=3), three)
    assert np.abs(make(num=1, seed=1)[0] - three[0]).max() > 1e-3, "the seed changes nothing"


@pytest.mark.parametrize("transition", [False, True])
def test_fewer_frames_are_the_beginning_of_more(leo, transition):
    many = sample(leo, frames=5 * LENGTH, transition=transition)
    for frames in (1, LENGTH - 1, LENGTH + 1, 3 * LENGTH):
        np.testing.assert_array_equal(sample(leo, frames=frames, transition=transition), many[:, :frames])


def test_segments_are_chained_by_the_last_code(leo):
    segment, *others = itertools.islice(leo.sampler.pieces(START[None], steps=STEPS), 4)
    assert [piece.shape[1] for piece in (segment, *others)] == [LENGTH, LENGTH - 1, LENGTH - 1, LENGTH - 1]
    assert np.abs(others[0] - others[1]).max() > 1e-3, "segments repeat: their noise is the same"
    # The second segment is the motion model's answer to the first one's last code, with noise of its own.
    again = leo.sampler._draw("motion", np.asarray([0]), 1, segment[:, -1], STEPS, 0)
    np.testing.assert_allclose(others[0], again[:, 1:], **CLOSE)


def test_transitions_lead_to_new_start_codes(leo):
    pieces = list(itertools.islice(leo.sampler.pieces(START[None], steps=STEPS, transition=True), 5))
    assert [piece.shape[1] for piece in pieces] == [LENGTH, BRIDGE - 1, LENGTH - 1, BRIDGE - 1, LENGTH - 1]
    for piece, bridge in ((1, pieces[1]), (3, pieces[3])):
        target = leo.sampler.start_codes(1, steps=STEPS, piece=piece)
        np.testing.assert_allclose(bridge[:, -1], target, **CLOSE)
    ends = np.stack([pieces[0][:, -1], pieces[1][:, -1]], 1)
    np.testing.assert_allclose(
        pieces[1], leo.sampler._draw("transition", np.asarray([0]), 1, ends, STEPS, 0)[:, 1:], **CLOSE
    )


def test_without_the_condition(without_lmc):
    free = without_lmc.sample_codes(frames=LENGTH, num=2, steps=STEPS)
    assert np.abs(free[0, 0] - free[1, 0]).max() > 1e-3, "sequences begin alike"
    moved = sample(without_lmc, frames=LENGTH, num=2)
    np.testing.assert_array_equal(moved[:, 0], [START, START])
    np.testing.assert_allclose(moved - START, free - free[:, :1], **CLOSE)
    long = sample(without_lmc, frames=LENGTH + BRIDGE + 2, transition=True)
    np.testing.assert_array_equal(long[:, :LENGTH], moved[:1])
    with pytest.raises(ValueError, match=r"9 frames.*without the Linear Motion Condition.*at most 8.*transition=True"):
        sample(without_lmc, frames=LENGTH + 1)


def test_nothing_is_drawn_that_is_not_needed():
    drawn = []

    def pieces():
        for k in itertools.count():
            drawn.append(k)
            yield np.full((1, 4, 1), k)

    got = np.concatenate(list(limited(pieces(), 8)), 1)
    assert drawn == [0, 1]
    np.testing.assert_array_equal(got[0, :, 0], [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"frames": 0}, "0 frames.*from 1 on"),
        ({"frames": np.inf}, "finite"),
        ({"num": 0}, "num = 0"),
        ({"start": np.zeros(5)}, r"start of shape \(5,\).*\(3,\)"),
        ({"start": np.zeros((3, 3)), "num": 2}, r"\(3, 3\).*\(2, 3\).*num=2"),
        ({"steps": 2000}, "steps is 2000"),
    ],
)
def test_wrong_inputs_are_told(leo, given, says):
    with pytest.raises(ValueError, match=says):
        sample(leo, **given)


@pytest.mark.parametrize(
    ("has", "given", "lacks"),
    [
        ((), {}, "motion"),
        (("motion",), {"start": None}, "start"),
        (("motion", "start"), {"frames": LENGTH + 1, "transition": True}, "transition"),
    ],
)
def test_a_missing_stage_is_told(tmp_path, has, given, lacks):
    leo = leo_jax.load(tiny_model.write(tmp_path, stages=has))
    assert leo.stages == {"animator", *has}
    with pytest.raises(FileNotFoundError, match=rf"no {lacks} model.*--stages={lacks}"):
        sample(leo, **given)
