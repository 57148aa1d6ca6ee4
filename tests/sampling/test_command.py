"""`leo sample`: files, sizes, codes that draw the video again, contact sheets, interruption, wrong inputs."""

import math
import os
import signal

import numpy as np
import PIL.Image
import pytest

from leo_jax import api, video
from leo_jax.metrics.videos import open_videos
from leo_jax.sampling import command, interrupt, recording, videos
from leo_jax.sampling.images import to_bytes
from tests import tiny_model
from tests.tiny_model import FPS, LENGTH, SIZE, STRIDE

STEPS = 2


def photo(path, height=SIZE, width=SIZE, seed=0):
    """A photo without hard edges, so that its compression and resizing lose little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC).save(path)
    return path


def sample(leo, out, **given):
    return command.sample(leo.renderer, leo.sampler, out, **{"frames": 6, "steps": STEPS, "progress": False, **given})


def frames_of(path):
    return np.stack(list(video.read_frames(path)))


def test_a_photo_of_any_size_keeps_its_proportions(leo, tmp_path):
    image = photo(tmp_path / "p.png", height=24, width=48)
    (path,) = sample(leo, tmp_path / "out.mp4", image=[image])
    info = video.probe(path)
    assert (info.height, info.width, info.frames, info.fps) == (SIZE, 2 * SIZE, 6, FPS / STRIDE)
    first = frames_of(path)[0]
    expected = np.asarray(PIL.Image.open(image).resize((2 * SIZE, SIZE)))
    assert np.abs(first.astype(int) - expected).mean() < 12, "the first frame is not the photo"
    (path,) = sample(leo, tmp_path / "cropped.mp4", image=[image], crop=True, fps=5.0)
    assert (video.probe(path).width, video.probe(path).fps) == (SIZE, 5)


def test_several_videos_go_into_a_folder_with_a_sheet(leo, tmp_path):
    images = [photo(tmp_path / name, seed=seed) for seed, name in enumerate(("a.png", "b.png"))]
    paths = sample(leo, tmp_path / "out", image=images, num=2, grid=True)
    names = ["a-000.mp4", "a-001.mp4", "b-000.mp4", "b-001.mp4", "samples.grid.png"]
    assert [path.name for path in paths] == names
    assert PIL.Image.open(paths[-1]).height > 4 * 64
    assert [v.name for v in open_videos(tmp_path / "out").videos] == names[:4], "evaluation takes companions for videos"
    alone = sample(leo, tmp_path / "alone", image=images[1:], num=1)
    assert recording.codes_path(alone[0]).name == "b-000.codes.npz"
    codes = [recording.read_codes(recording.codes_path(path)).codes for path in (alone[0], paths[2])]
    np.testing.assert_allclose(*codes, rtol=0, atol=1e-5)


def test_a_folder_may_have_a_point_in_its_name_and_hold_older_videos(leo, tmp_path):
    out = tmp_path / "v1.2"
    out.mkdir()
    (out / "007.mp4").touch()
    paths = sample(leo, out, num=2)
    assert [path.name for path in paths] == ["000.mp4", "001.mp4"] and paths[0].parent == out
    assert command.others(out, paths) == [out / "007.mp4"] and not command.others(paths[0], paths)


@pytest.mark.parametrize("image", [True, False])
def test_codes_draw_the_same_video_again(leo, tmp_path, image):
    given = {"image": [photo(tmp_path / "p.png", height=24, width=48)]} if image else {}
    (path,) = sample(leo, tmp_path / "out.mp4", **given)
    codes = recording.codes_path(path)
    (again,) = command.render(leo.renderer, tmp_path / "again.mp4", codes=codes, progress=False)
    assert again.read_bytes() == path.read_bytes()
    (short,) = command.render(leo.renderer, tmp_path / "short.mp4", codes=codes, frames=4, progress=False)
    assert video.probe(short).frames == 4


def test_relative_codes_move_another_photo_from_its_own_pose(leo, tmp_path):
    (path,) = sample(leo, tmp_path / "out.mp4")
    other = photo(tmp_path / "other.png", seed=3)
    (moved,) = command.render(
        leo.renderer, tmp_path / "o.mp4", codes=recording.codes_path(path), image=[other], relative=True, progress=False
    )
    codes = recording.read_codes(recording.codes_path(path)).codes
    own = recording.read_codes(recording.codes_path(moved)).codes
    np.testing.assert_allclose(own - own[:1], codes - codes[:1], atol=1e-5)
    np.testing.assert_allclose(own[0], leo.codes(np.asarray(PIL.Image.open(other)))[0], atol=1e-5)


def test_codes_pose_another_photo_from_the_first_frame_on(leo, tmp_path):
    """The photo has a pose of its own: shown as it is, the person would jump into the codes' pose after it."""
    (path,) = sample(leo, tmp_path / "out.mp4")
    other, codes = photo(tmp_path / "other.png", seed=3), recording.codes_path(path)
    (moved,) = command.render(leo.renderer, tmp_path / "o.mp4", codes=codes, image=[other], progress=False)
    square = np.asarray(PIL.Image.open(other))
    drawn = to_bytes(leo.render(square, recording.read_codes(codes).codes))
    off = lambda a, b: np.abs(a.astype(int) - b).mean()
    found = frames_of(moved)
    assert all(off(one, own) < 0.5 * off(one, square) for one, own in zip(found, drawn, strict=True))


def test_endless_ends_when_it_is_stopped_and_is_whole(leo, tmp_path, monkeypatch):
    presses_after(monkeypatch, LENGTH + 3)
    (path,) = sample(leo, tmp_path / "out.mp4", frames=math.inf)
    assert video.probe(path).frames == LENGTH + 3
    assert len(recording.read_codes(recording.codes_path(path)).codes) == LENGTH + 3


def test_interrupted_leaves_what_there_was(leo, tmp_path, monkeypatch):
    presses_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match=r"out\.partial\.mp4"):
        sample(leo, tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.partial.codes.npz", "out.partial.mp4"]
    assert video.probe(tmp_path / "out.partial.mp4").frames == 4
    assert len(recording.read_codes(tmp_path / "out.partial.codes.npz").codes) == 4


def test_a_whole_video_leaves_no_partial_codes(leo, tmp_path):
    (tmp_path / "out.partial.codes.npz").touch()
    sample(leo, tmp_path / "out.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.codes.npz", "out.mp4"]


def presses_after(monkeypatch, count):
    """Ctrl-C while frame `count` is being written."""
    write, seen = video.VideoWriter.write, []

    def pressing(self, frame):
        seen.append(frame)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGINT)
        write(self, frame)

    monkeypatch.setattr(video.VideoWriter, "write", pressing)


def test_a_second_interruption_does_not_wait():
    with interrupt.noted() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_frames_come_as_they_are_asked_for(leo):
    """The first frames of a video without an end, of which no more is drawn than a batch ahead."""
    (made,) = videos.videos(leo.renderer, leo.sampler, frames=None, steps=STEPS)
    moments = [next(made.moments) for _ in range(20)]
    np.testing.assert_allclose(
        [m.code for m in moments], leo.sample_codes(frames=20, steps=STEPS)[0], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "nan", "-inf", "many"])
def test_impossible_lengths_are_told(text):
    with pytest.raises(ValueError, match="whole number from 1 on"):
        command.parse_frames(text)


def test_lengths_are_told_as_typed():
    with pytest.raises(ValueError, match=r"^0 frames"):
        command.parse_frames("0")


def test_possible_lengths():
    assert (command.parse_frames("64"), command.parse_frames("inf")) == (64, math.inf)


@pytest.mark.parametrize(
    ("out", "given", "says"),
    [
        ("o.mp4", {"num": 0}, "--num 0"),
        ("o.mp4", {"fps": 0.0}, "--fps 0.0: from 0.01 to 1000"),
        ("o.mp4", {"fps": -1.0}, "--fps -1.0"),
        ("o.mp4", {"fps": 1e5}, "--fps 100000.0"),
        ("o.mp4", {"steps": 0}, "--steps 0: from 1 to 1000"),
        ("o.mp4", {"steps": 2000}, "--steps 2000"),
        ("o.mp4", {"num": 2}, "2 videos do not fit into one file"),
        ("o.txt", {}, "cannot write .txt"),
        ("o", {"num": 2, "frames": math.inf}, "never ends"),
        ("o.gif", {"frames": math.inf}, "write an .mp4"),
        ("o.mp4", {"frames": math.inf, "grid": True}, "has no end"),
    ],
)
def test_wrong_inputs_are_told_before_anything_is_made(leo, tmp_path, out, given, says):
    with pytest.raises(ValueError, match=says):
        sample(leo, tmp_path / out, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("image", "lacks"), [(True, "motion"), (False, "first_frame")])
def test_a_missing_stage_is_told(tmp_path, image, lacks):
    leo = api.load(tiny_model.write(tmp_path, stages=() if image else ("motion", "start")))
    given = {"image": [photo(tmp_path / "p.png")]} if image else {}
    with pytest.raises(FileNotFoundError, match=rf"no {lacks} model.*--stages={lacks}"):
        sample(leo, tmp_path / "out.mp4", **given)


def test_what_are_no_codes_is_told(leo, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "wide.npz", codes=np.zeros((5, 20)))
    np.savez(tmp_path / "bare.npz", codes=np.zeros((5, 3)))
    np.savez(tmp_path / "large.npz", codes=np.zeros((5, 3)), image=np.zeros((32, 32, 3), np.uint8))
    for name, says in (
        ("other", "no array 'codes'"), ("text", "no motion codes"), ("wide", "20 numbers.*have 3"), ("bare", "--image"),
        ("large", "large.npz holds an image of 32 px.*have 16"), ("text", r"\(no plain arrays\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            command.render(leo.renderer, tmp_path / "o.mp4", codes=tmp_path / f"{name}.npz", progress=False)
