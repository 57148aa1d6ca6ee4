"""What a command line may ask for, and what it is told when it may not."""

import fsspec
import numpy as np
import pytest

from leo_jax.data import puppets
from leo_jax.metrics import command
from leo_jax.metrics.command import Side
from leo_jax.metrics.evaluate import Settings
from leo_jax.metrics.protocols import protocol

QUICK = Settings(progress=False, bootstrap=0, floor=0)


def write_set(path, count=3, t=4, seed=0):
    np.save(path, np.random.default_rng(seed).integers(0, 256, (count, t, 16, 16, 3), dtype=np.uint8))
    return path


def test_overrides():
    assert command.parse_overrides(["resolution=256", "resize=stretch, TF1", "trials = 2", "resolution=None"]) == {
        "resolution": None, "resize": "stretch, TF1", "trials": 2,
    }  # fmt: skip
    with pytest.raises(ValueError, match="FIELD=VALUE"):
        command.parse_overrides(["resolution"])


def test_spacing_must_be_stated_where_it_matters(tmp_path):
    side = Side(write_set(tmp_path / "fake.npy"))
    with pytest.raises(ValueError, match=r"--fake_stride=1 \(then every 4th is taken\) or --fake_stride=4"):
        command.open_side(side, "fake", protocol("digan-taichi"), "error")
    assert command.open_side(side, "fake", protocol("digan"), "error").stride == 1
    assert command.open_side(Side(side.path, stride=4), "fake", protocol("digan-taichi"), "error").stride == 4


def test_acd_means_the_weights_that_are_there():
    assert command.resolve(["fvd", "acd", "fvd"], {"reid": "reid.npz"}) == ["fvd", "acd-body"]
    assert command.resolve(["acd"], {"reid": "reid.npz", "face": "face.npz"}) == ["acd-face", "acd-body"]
    with pytest.raises(FileNotFoundError, match=r"(?s)leo convert face --checkpoint.*leo convert reid --checkpoint"):
        command.resolve(["acd"], {})
    with pytest.raises(ValueError, match=r"no metric \['fid'\]: there are fvd, kvd"):
        command.resolve(["fid"], {})


def test_missing_weights_say_where_they_come_from(tmp_path):
    side = Side(write_set(tmp_path / "a.npy"))
    with pytest.raises(FileNotFoundError, match=r"(?s)AlexNet.*leo convert lpips"):
        command.run(side, side, protocol_name="digan", metrics=["lpips"], settings=QUICK)


def test_reconstruction_from_files(tmp_path):
    real, fake = write_set(tmp_path / "r.npy"), write_set(tmp_path / "f.npy", seed=1)
    with pytest.raises(ValueError, match=r"no video of that name.*leave such videos out with --skip_bad"):
        command.run(Side(real), Side(fake), protocol_name="digan", metrics=["l1"], settings=QUICK)
    for name, path in (("real", real), ("fake", fake)):
        (tmp_path / name).mkdir()
        path.rename(tmp_path / name / "all.npy")
    found = command.run(
        Side(tmp_path / "real"), Side(tmp_path / "fake"), protocol_name="digan", metrics=["l1"],
        label="ours", settings=QUICK,
    ).result  # fmt: skip
    expected = np.abs(
        np.load(tmp_path / "real/all.npy").astype(float) - np.load(tmp_path / "fake/all.npy")
    ).mean() / 255  # fmt: skip
    assert found["metrics"]["l1"]["value"] == pytest.approx(expected, rel=1e-5)
    assert found["label"] == "ours"


def test_keypoints_need_no_videos(tmp_path):
    for name, shift in (("gt", 0), ("gen", 2)):
        value = np.full((3, 5, 2), 10.0) + shift
        np.savez(tmp_path / f"{name}.npz", file_name=["a"] * 3, frame_number=range(3), value=value)
    files = (tmp_path / "gt.npz", tmp_path / "gen.npz")
    found = command.run(None, None, protocol_name="digan", metrics=["akd"], keypoints=files, settings=QUICK).result
    assert found["metrics"]["akd"] == {"value": 2.0, "frames": 3} and found["metrics"]["mkr"] == {"value": 0.0}
    with pytest.raises(ValueError, match="compare keypoint files"):
        command.run(None, None, protocol_name="digan", metrics=["aed"], settings=QUICK)
    with pytest.raises(ValueError, match="fvd compare videos"):
        command.run(None, None, protocol_name="digan", metrics=["fvd"], settings=QUICK)


def test_keypoint_files_stand_in_a_joint_result(tmp_path):
    value = np.ones((3, 5, 2))
    for name in ("gt", "gen"):
        np.savez(tmp_path / f"{name}.npz", file_name=["a"] * 3, frame_number=range(3), value=value)
    side = Side(write_set(tmp_path / "videos.npy"))
    files = (tmp_path / "gt.npz", tmp_path / "gen.npz")
    found = command.run(side, side, metrics=["l1", "akd"], keypoints=files, settings=QUICK).result
    assert found["metrics"]["l1"]["value"] == found["metrics"]["akd"]["value"] == 0
    assert found["keypoints"]["fake"]["where"] == str(files[1])
    assert found["keypoints"]["real"]["fingerprint"] != found["real"]["fingerprint"]


def test_both_sides_may_lie_in_a_bucket(tmp_path):
    """A model is looked for only where there is nothing of that name."""
    puppets.make_dataset(tmp_path, num_train=2, num_test=1, frames=5, size=16, preset="easy", progress=False)
    memory = fsspec.filesystem("memory")
    for file in tmp_path.iterdir():
        memory.pipe(f"/evaluate/{file.name}", file.read_bytes())
    real, fake = (Side(path, split="train") for path in (tmp_path, "memory://evaluate"))
    found = command.run(real, fake, metrics=["l1"], load_model=lambda path: 1 / 0, settings=QUICK).result
    assert found["metrics"]["l1"]["value"] == 0 and found["fake"]["where"] == "memory://evaluate (train)"


@pytest.mark.parametrize("content", [b"a checkpoint that was not converted", None], ids=["file", "folder"])
def test_weights_that_were_not_converted_say_how(tmp_path, content):
    path = tmp_path / "face.pt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"(?s)face.pt holds no converted face weights.*leo convert face --checkpoint"):
        command.load_weights("face", path)


def test_a_model_is_no_folder_of_videos(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"is a model: give it as the generated side \(--fake\)"):
        command.open_side(Side(tmp_path), "fake", protocol("digan"), "error")


def test_unknown_data_set_of_the_paper(tmp_path):
    side = Side(write_set(tmp_path / "a.npy"))
    with pytest.raises(ValueError, match="no data set 'kinetics': there are taichi128"):
        command.run(side, side, protocol_name="digan", dataset="kinetics", settings=QUICK)
