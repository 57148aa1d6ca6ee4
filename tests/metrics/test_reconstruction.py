"""L1, LPIPS, AKD, AED: by hand, and as pose-evaluation prints them."""

import pathlib

import numpy as np
import pytest

from leo_jax.convert.lpips import lpips
from leo_jax.metrics import reconstruction, videos
from leo_jax.metrics.reconstruction import Keypoints
from leo_jax.video import BadVideo
from tests.models.seeded_frozen import state_dict

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "metrics" / "akd_aed.npz")


def keypoints(name):
    """Two videos of four frames."""
    value = GOLDEN[name]
    return Keypoints([(f"video{i // 4}", i % 4) for i in range(len(value))], value)


def test_akd_of_faces():
    found = reconstruction.average_keypoint_distance(keypoints("akd_face/gt"), keypoints("akd_face/gen"))
    np.testing.assert_allclose(found["akd"], GOLDEN["akd_face/expected"][0], rtol=1e-8)
    assert found["frames"] == 7, "one generated frame has no face"


def test_akd_and_mkr_of_bodies():
    found = reconstruction.average_keypoint_distance(keypoints("akd_mkr_body/gt"), keypoints("akd_mkr_body/gen"))
    np.testing.assert_allclose([found["akd"], found["mkr"]], GOLDEN["akd_mkr_body/expected"], rtol=1e-8)


def test_aed():
    found = reconstruction.average_euclidean_distance(keypoints("aed/gt"), keypoints("aed/gen"))
    np.testing.assert_allclose(found["aed"], GOLDEN["aed/expected"][0], rtol=1e-6)


def test_rows_are_matched_by_video_and_frame():
    real, fake = keypoints("aed/gt"), keypoints("aed/gen")
    shuffled = Keypoints(fake.names[::-1], fake.values[::-1])
    assert reconstruction.average_euclidean_distance(real, shuffled) == pytest.approx(
        reconstruction.average_euclidean_distance(real, fake)
    )
    with pytest.raises(ValueError, match=r"other frames.*1 of them.*video1"):
        reconstruction.average_euclidean_distance(real, Keypoints(fake.names[:-1], fake.values[:-1]))


def test_keypoint_files(tmp_path):
    value = GOLDEN["akd_face/gt"]
    names = keypoints("akd_face/gt").names
    np.savez(tmp_path / "gt.npz", file_name=[n for n, _ in names], frame_number=[f for _, f in names], value=value)
    read = reconstruction.load_keypoints(tmp_path / "gt.npz")
    assert read.names == names
    np.testing.assert_array_equal(read.values, value)
    np.savez(tmp_path / "bad.npz", value=value)
    with pytest.raises(ValueError, match=r"bad.npz.*file_name.*frame_number"):
        reconstruction.load_keypoints(tmp_path / "bad.npz")
    with pytest.raises(FileNotFoundError, match=r"no keypoints at .*none.npz"):
        reconstruction.load_keypoints(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v[:-1], "8 frames, and values of"),
        (lambda v: v.astype(str), "values of <U"),
        (
            lambda v: np.where(np.arange(len(v))[:, None, None] == 5, [1.0, np.nan], v),
            r"NaN in part of \('video1', 1\)",
        ),
    ],
)
def test_odd_keypoints_are_refused(tmp_path, spoil, message):
    """A frame of NaN alone is one where nothing was found; NaN beside numbers would make every mean NaN."""
    whole = keypoints("akd_face/gt")
    names = {"file_name": [n for n, _ in whole.names], "frame_number": [f for _, f in whole.names]}
    np.savez(tmp_path / "odd.npz", value=spoil(whole.values), **names)
    with pytest.raises(ValueError, match=rf"odd.npz is no keypoint file: .*{message}"):
        reconstruction.load_keypoints(tmp_path / "odd.npz")


@pytest.mark.parametrize(
    ("metric", "shape"), [("akd", (2, 7)), ("akd", (2, 7, 3)), ("aed", (2, 7, 2)), ("aed", (2, 7, 2, 1))]
)
def test_values_of_another_kind_are_refused(metric, shape):
    """A confidence beside x and y would count as a third coordinate, and joints as features."""
    one = reconstruction.Keypoints([("a", 0), ("a", 1)], np.ones(shape))
    measure = {"akd": reconstruction.average_keypoint_distance, "aed": reconstruction.average_euclidean_distance}
    with pytest.raises(
        ValueError, match=rf"{metric} compares values .*; those of the real side are \({shape[0]}, {shape[1]}"
    ):
        measure[metric](one, one)


def pair_of_sets(real, fake, real_names=None, fake_names=None):
    return videos.from_arrays(real, names=real_names), videos.from_arrays(fake, names=fake_names)


def test_l1_is_a_mean_over_videos():
    """Videos of other lengths weigh the same: 10/255 and 30/255 give 20/255."""
    grey = [np.full((t, 8, 8, 3), 100, np.uint8) for t in (2, 6)]
    found = reconstruction.measure(
        reconstruction.pairs(*pair_of_sets(grey, [grey[0] + 10, grey[1] - 30])), {"l1": reconstruction.l1}
    )
    np.testing.assert_allclose(found["l1"], [10 / 255, 30 / 255], rtol=1e-6)


def test_lpips_of_videos():
    distance = reconstruction.PerceptualDistance(lpips(state_dict("lpips")), batch_size=4)
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    near = np.clip(real.astype(int) + random.integers(-9, 10, real.shape), 0, 255).astype(np.uint8)
    far = random.integers(0, 256, real.shape, dtype=np.uint8)
    assert distance(real, real) < 1e-12
    assert 1e-5 < distance(real, near) < distance(real, far)
    parts = [distance(real[i : i + 1], far[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(distance(real, far), np.mean(parts), rtol=1e-5, err_msg="the padded last batch counts")


@pytest.mark.parametrize(
    ("fake", "names", "message"),
    [
        (np.zeros((3, 8, 8, 3), np.uint8), ["a"], r"3 frames of 8x8 px, its original has 4 of 8x8"),
        (np.zeros((4, 9, 8, 3), np.uint8), ["a"], r"4 frames of 9x8"),
        (np.zeros((4, 8, 8, 3), np.uint8), ["b"], r"b: no video of that name"),
    ],
)
def test_pairs_must_fit(fake, names, message):
    real, fake = pair_of_sets([np.zeros((4, 8, 8, 3), np.uint8)], [fake], ["a"], names)
    with pytest.raises(BadVideo, match=message):
        reconstruction.pairs(real, fake)
    left_out = []
    assert reconstruction.pairs(real, fake, left_out) == [] and [name for name, _ in left_out] == names


def test_two_files_of_one_name_are_refused():
    real, fake = pair_of_sets(*[[np.zeros((4, 8, 8, 3), np.uint8)] * 2] * 2, ["a.npy", "a.npz"], ["a.mp4", "b.mp4"])
    with pytest.raises(ValueError, match=r"a.npy and a.npz of arrays go by one name"):
        reconstruction.pairs(real, fake)


def test_pairs_ignore_file_suffixes():
    real, fake = pair_of_sets(*[[np.zeros((4, 8, 8, 3), np.uint8)]] * 2, ["x/a.b.mp4"], ["x/a.b.npz"])
    assert len(reconstruction.pairs(real, fake)) == 1
