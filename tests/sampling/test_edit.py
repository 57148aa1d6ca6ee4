"""Editing: the motion is the video's, the appearance the edited frame's; size, rate and sound are kept."""

import numpy as np
import PIL.Image
import pytest

from leo_jax import video
from leo_jax.sampling import edit
from tests.clips import clip, encode
from tests.sampling.test_command import photo
from tests.tiny_model import SIZE


def test_size_rate_and_sound_are_kept(leo, tmp_path):
    source = encode(tmp_path / "in.mp4", clip(12, 48, 64), fps=10, sound="aac")
    edited = photo(tmp_path / "e.png", 96, 128)
    assert edit.edit(leo.renderer, source, edited, tmp_path / "out.mp4", progress=False) == 12
    info = video.probe(tmp_path / "out.mp4")
    assert (info.height, info.width, info.fps, info.frames, info.has_audio) == (48, 64, 10, 12, True)


@pytest.mark.parametrize("relative", [False, True])
def test_motion_is_the_videos_and_appearance_the_edited_frames(leo, tmp_path, relative):
    frames = clip(6, SIZE, SIZE * 2)
    source = encode(tmp_path / "in.mp4", frames, options={"crf": "1"})
    edited = photo(tmp_path / "e.png", SIZE, SIZE * 2)
    edit.edit(leo.renderer, source, edited, tmp_path / "out", relative=relative, progress=False)
    squeezed = lambda image: video.resize(np.asarray(image), SIZE, SIZE)
    codes = leo.codes(np.stack([squeezed(frame) for frame in video.read_frames(source)]))
    drawn = leo.render(squeezed(PIL.Image.open(edited)), codes, relative_to=codes[0] if relative else None)
    for frame, expected in zip(video.read_frames(tmp_path / "out"), drawn, strict=True):
        wide = video.resize(np.round((expected + 1) * 127.5).astype(np.uint8), SIZE, SIZE * 2)
        np.testing.assert_allclose(frame.astype(int), wide, atol=2)


def test_the_frame_to_edit_is_the_first_at_full_size(tmp_path):
    source = encode(tmp_path / "in.mp4", clip(5), rotation=90)
    assert edit.export_first_frame(source, tmp_path / "f.png") == (64, 48)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(tmp_path / "f.png")), next(video.read_frames(source)))
    with pytest.raises(ValueError, match="image file"):
        edit.export_first_frame(source, tmp_path / "f.mp4")
    frames = tmp_path / "frames"
    with video.VideoWriter(frames, 10) as writer:
        writer.write(clip(1)[0])
    with pytest.raises(ValueError, match="it would be a frame of"):
        edit.export_first_frame(frames, frames / "000000.png")


def test_other_proportions_are_told(leo, tmp_path):
    source = encode(tmp_path / "in.mp4", clip(5))
    with pytest.raises(ValueError, match=r"48x48.*64x48.*export_first_frame"):
        edit.edit(leo.renderer, source, photo(tmp_path / "e.png", 48, 48), tmp_path / "out.mp4", progress=False)
    assert not (tmp_path / "out.mp4").exists()


def test_the_video_is_not_overwritten(leo, tmp_path):
    source = encode(tmp_path / "in.mp4", clip(5))
    with pytest.raises(ValueError, match=r"is the input .*in\.mp4, which would be overwritten"):
        edit.edit(leo.renderer, source, photo(tmp_path / "e.png", 48, 64), source, progress=False)
