"""What a training run leaves to look at."""

import numpy as np
import PIL.Image
import pytest

import leo_jax
from leo_jax import video
from leo_jax.sampling import recording, samples
from tests import tiny_model
from tests.tiny_model import FPS, LENGTH, SIZE, STRIDE

IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


def test_every_mode_is_written(leo, tmp_path):
    paths = samples.write_samples(leo, IMAGES, tmp_path, frames=LENGTH, long_frames=20, steps=2, progress=False)
    names = ["conditional-0", "conditional-1", "unconditional-0", "unconditional-1", "long-0", "transition-0"]
    assert [path.name for path in paths] == [*(f"{name}.mp4" for name in names), "samples.png"]
    for name in names:
        info = video.probe(tmp_path / f"{name}.mp4")
        frames = LENGTH if "conditional" in name else 20
        assert (info.frames, info.fps, info.height) == (frames, FPS / STRIDE, SIZE)
        kept = recording.read_codes(tmp_path / f"{name}.codes.npz")
        assert kept.codes.shape == (frames, 3) and kept.fps == FPS / STRIDE
        # The image and the codes are the video: all but the first frame are drawn from them.
        drawn = leo.render(kept.image, kept.codes)
        shown = np.stack(list(video.read_frames(tmp_path / f"{name}.mp4")))
        assert np.abs(shown[1:] / 127.5 - 1 - drawn[1:]).mean() < 0.05
    sheet = np.asarray(PIL.Image.open(paths[-1]))
    assert sheet.shape[1] == 8 * 68 - 4 and sheet.shape[0] > 6 * 64


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((), []),
        (("motion",), ["conditional", "long"]),
        (("motion", "start"), ["conditional", "long"]),
        (("motion", "start", "transition"), ["conditional", "long", "transition"]),
        (("motion", "start", "first_frame"), ["conditional", "unconditional", "long"]),
    ],
)
def test_modes_follow_from_stages(tmp_path, stages, expected):
    assert samples.modes(leo_jax.load(tiny_model.write(tmp_path, stages=stages))) == expected


def test_modes_without_the_condition(without_lmc):
    assert samples.modes(without_lmc) == ["conditional", "unconditional", "transition"]


def test_nothing_to_make_is_told(leo, tmp_path):
    with pytest.raises(ValueError, match="0 images"):
        samples.write_samples(leo, IMAGES[:0], tmp_path)
