"""The sheet of pictures and motions."""

import numpy as np
import PIL.Image
import pytest

from leo_jax import video
from leo_jax.sampling import command, recording, sheets
from leo_jax.sampling.disentangle import disentangle, motions
from tests.sampling.test_command import photo, presses_after
from tests.tiny_model import LENGTH, SIZE

GIVEN = {"frames": LENGTH, "steps": 2, "progress": False}


def test_motions_start_at_rest_and_differ(leo):
    m = motions(leo.sampler, np.ones((1, 3), np.float32), num=2, frames=LENGTH, steps=2, seed=0)
    np.testing.assert_array_equal(m[:, 0], np.zeros((2, 3)))
    assert np.abs(m[0, 1:] - m[1, 1:]).max() > 1e-3


def test_pictures_by_motions(leo, tmp_path):
    images = [np.asarray(PIL.Image.open(photo(tmp_path / f"{k}.png", seed=k))) for k in range(2)]
    paths = disentangle(leo.renderer, leo.sampler, tmp_path / "d.mp4", images=images, num=3, **GIVEN)
    assert [path.name for path in paths] == ["d.mp4", "d.grid.png", *(f"d-motion-{k}.codes.npz" for k in (1, 2, 3))]
    info = video.probe(paths[0])
    cells = 4 * (SIZE + sheets.GAP) - sheets.GAP, 2 * (SIZE + sheets.GAP) - sheets.GAP
    assert (info.width, info.height, info.frames) == (*cells, LENGTH)
    # A cell is its row's picture with its column's motion, carried over.
    codes = recording.read_codes(paths[3]).codes
    drawn = leo.render(images[1], codes, relative_to=codes[0])[-1]
    last = list(video.read_frames(paths[0]))[-1]
    pitch = SIZE + sheets.GAP
    shown = last[pitch : pitch + SIZE, 2 * pitch : 2 * pitch + SIZE]
    assert np.abs(shown / 127.5 - 1 - drawn).mean() < 0.1
    assert PIL.Image.open(paths[1]).height > (3 + 1) * 64


def test_pictures_are_drawn_if_none_are_given(leo, tmp_path):
    paths = command.disentangle(leo.renderer, leo.sampler, tmp_path / "out", num=2, **GIVEN)
    assert paths[0] == tmp_path / "out" / "disentangle.mp4" and video.probe(paths[0]).height == 2 * SIZE + sheets.GAP
    with pytest.raises(ValueError, match="needs a number"):
        command.disentangle(leo.renderer, leo.sampler, tmp_path / "o", **{**GIVEN, "frames": float("inf")})


def test_interrupted_it_keeps_what_it_has(leo, tmp_path, monkeypatch):
    presses_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt, match=r"d\.partial\.mp4, the motions"):
        command.disentangle(leo.renderer, leo.sampler, tmp_path / "d.mp4", num=2, **GIVEN)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "d-motion-1.codes.npz",
        "d-motion-2.codes.npz",
        "d.partial.mp4",
    ]
    assert video.probe(tmp_path / "d.partial.mp4").frames == 3
    assert len(recording.read_codes(tmp_path / "d-motion-2.codes.npz").codes) == LENGTH
