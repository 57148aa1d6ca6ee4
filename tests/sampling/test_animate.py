"""`leo animate`: the photo's proportions, the clip's motion, rate and sound; files of every kind; bad ones are named."""

from fractions import Fraction

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest

from leo_jax import video
from leo_jax.sampling import animate as animating
from leo_jax.sampling.images import to_bytes
from tests.clips import clip, encode
from tests.sampling.test_command import photo
from tests.tiny_model import SIZE

FRAMES = 5
NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def driving(tmp_path_factory):
    """A wide clip with sound at a rate that is no whole number, all but lossless."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    return encode(path, clip(FRAMES, 48, 64), fps=NTSC, sound="aac", options={"crf": "1"})


def animate(leo, source, driving, out, **given):
    count = animating.animate(leo.renderer, source, driving, out, progress=False, **given)
    assert count == FRAMES
    return out


def frames_of(path):
    return list(video.read_frames(path))


def squeezed(image):
    return video.resize(np.asarray(image), SIZE, SIZE)


def read(path):
    return np.asarray(PIL.Image.open(path))


def test_rate_and_sound_are_the_clips(leo, driving, tmp_path):
    out = animate(leo, photo(tmp_path / "p.png", 48, 48), driving, tmp_path / "o.mp4")
    info = video.probe(out)
    assert (info.fps, info.frames, info.codec, info.has_audio) == (NTSC, FRAMES, "h264", True)


def test_a_gif_lasts_as_long_as_the_clip(leo, driving, tmp_path):
    """As nearly as its hundredths of a second allow."""
    out = animate(leo, photo(tmp_path / "p.png"), driving, tmp_path / "o.gif")
    with PIL.Image.open(out) as file:
        milliseconds = [image.info["duration"] for image in PIL.ImageSequence.Iterator(file)]
    assert len(milliseconds) == FRAMES
    assert abs(sum(milliseconds) - 1000 * FRAMES / NTSC) <= 5, f"frames last {milliseconds} ms"


def test_uneven_frames_stay_in_step_with_the_sound(leo, tmp_path):
    """At the average rate, 12.5, frame k is what the clip shows at k/12.5 s: quick ones are left out, slow ones repeat."""
    uneven = encode(tmp_path / "in.mp4", clip(11, 48, 64), stamps=[0, 40, 80, 120, 160, 200, 320, 440, 560, 680, 800])
    out = tmp_path / "o"
    animating.animate(leo.renderer, photo(tmp_path / "p.png"), uneven, out, side_by_side=True, progress=False)
    shown = [frame[:, SIZE : 2 * SIZE] for frame in frames_of(out)]
    driving = [squeezed(frame) for frame in frames_of(uneven)]
    expected = [0, 2, 4, 5, 6, 6, 7, 8, 8, 9, 10]
    for k, number in enumerate(expected):
        np.testing.assert_array_equal(shown[k], driving[number], f"frame {k} is not the driving video's {number}")


@pytest.mark.parametrize("relative", [False, True])
def test_the_photo_moves_as_the_clip_does(leo, driving, tmp_path, relative):
    """A folder of frames has no loss: each is what the model draws of the driving frame's code."""
    source = photo(tmp_path / "p.png", SIZE, 2 * SIZE)
    out = animate(leo, source, driving, tmp_path / "o", relative=relative)
    codes = leo.codes(np.stack([squeezed(frame) for frame in frames_of(driving)]))
    drawn = leo.render(squeezed(read(source)), codes, relative_to=codes[0] if relative else None)
    assert sorted(p.name for p in out.iterdir()) == [f"{t:06d}.png" for t in range(FRAMES)]
    for frame, image in zip(frames_of(out), to_bytes(drawn), strict=True):
        np.testing.assert_allclose(frame.astype(int), video.resize(image, SIZE, 2 * SIZE), atol=2)


def test_more_frames_than_a_batch_are_drawn_as_all_at_once(leo):
    """They move from the clip's first frame on, not from the first of each batch."""
    frames = [squeezed(frame) for frame in clip(leo.renderer.batch_size + 6)]
    still = frames[40]
    given = list(animating.animate_frames(leo.renderer, still, frames, relative=True))
    codes = leo.codes(np.stack(frames))
    drawn = to_bytes(leo.render(still, codes, relative_to=codes[0]))
    for (driver, frame), its, expected in zip(given, frames, drawn, strict=True):
        np.testing.assert_array_equal(driver, its)
        np.testing.assert_allclose(frame.astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(100, 61, (26, 16)), (20, 90, (16, 72)), (7, 7, (16, 16))],
)
def test_a_photo_of_any_size_keeps_its_proportions(leo, driving, tmp_path, height, width, expected):
    out = animate(leo, photo(tmp_path / "p.png", height, width), driving, tmp_path / "o.mkv")
    assert (video.probe(out).height, video.probe(out).width) == expected


def test_a_clip_on_its_side_is_turned_upright(leo, tmp_path):
    """What it drives with is what a player shows of it."""
    turned = encode(tmp_path / "in.mp4", clip(FRAMES, 64, 48), rotation=90)
    out = animate(leo, photo(tmp_path / "p.png"), turned, tmp_path / "o", side_by_side=True)
    shown = [frame[:, SIZE : 2 * SIZE] for frame in frames_of(out)]
    np.testing.assert_array_equal(shown, [squeezed(frame) for frame in frames_of(turned)])
    assert frames_of(turned)[0].shape == (48, 64, 3)


def test_crop_takes_the_centre_squares(leo, driving, tmp_path):
    source = photo(tmp_path / "p.png", 40, 24)
    out = animate(leo, source, driving, tmp_path / "o", crop=True, side_by_side=True)
    still, driver, _ = np.split(frames_of(out)[0], 3, axis=1)
    np.testing.assert_array_equal(still, squeezed(read(source)[8:32]))
    np.testing.assert_array_equal(driver, squeezed(frames_of(driving)[0][:, 8:56]))


def test_side_by_side_shows_photo_clip_and_result(leo, driving, tmp_path):
    source = photo(tmp_path / "p.png", SIZE, 2 * SIZE)
    alone = animate(leo, source, driving, tmp_path / "alone")
    together = animate(leo, source, driving, tmp_path / "o", side_by_side=True)
    wide = lambda image: video.resize(squeezed(image), SIZE, 2 * SIZE)
    for frame, driver, result in zip(*map(frames_of, (together, driving, alone)), strict=True):
        np.testing.assert_array_equal(frame, np.concatenate([wide(read(source)), wide(driver), result], axis=1))


def broken(path, content=b"x" * 200):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"x" * 200])
def test_a_broken_clip_is_named(leo, tmp_path, content):
    with pytest.raises(video.BadVideo, match=r"clip\.mp4: "):
        animate(leo, photo(tmp_path / "p.png"), broken(tmp_path / "clip.mp4", content), tmp_path / "o.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "p.png"], "something was written"


def test_a_broken_photo_is_named(leo, driving, tmp_path):
    with pytest.raises(ValueError, match=r"face\.png cannot be read as an image"):
        animate(leo, broken(tmp_path / "face.png"), driving, tmp_path / "o.mp4")
    with pytest.raises(FileNotFoundError, match=r"no image at .*gone\.png"):
        animate(leo, tmp_path / "gone.png", driving, tmp_path / "o.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["face.png"], "something was written"


def test_an_unknown_suffix_is_named_with_the_known_ones(leo, driving, tmp_path):
    with pytest.raises(ValueError, match=r"o\.webm: cannot write \.webm; take one of \.mp4, .*\.gif"):
        animate(leo, photo(tmp_path / "p.png"), driving, tmp_path / "o.webm")
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"], "something was written"


def test_the_inputs_are_not_overwritten(leo, tmp_path):
    source, clips = photo(tmp_path / "p.png"), encode(tmp_path / "in.mp4", clip(2))
    before = clips.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clips)
    for out in (clips, tmp_path / "link.mp4"):
        with pytest.raises(ValueError, match=r"is the input .*in\.mp4, which would be overwritten"):
            animate(leo, source, clips, out)
    assert clips.read_bytes() == before
