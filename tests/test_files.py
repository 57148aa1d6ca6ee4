"""Whole or absent; what killed processes leave is recognised and removed, and nothing else."""

import errno
import os
import pathlib

import pytest

from leo_jax import files


def test_leftovers_are_those_of_atomic_path(tmp_path):
    kept = [tmp_path / name for name in (".hidden", "a.tmp", ".a.tmp.npz", ".x.12345678.tmpfile", "a.0123abcd.tmp.npz")]
    for path in kept:
        path.touch()
    (tmp_path / "deeper").mkdir()
    whole = ("a.npz", "conditional-0.mp4", "codes.tfrecord.index", "noname")
    for name in whole:
        with files.atomic_path(tmp_path / name) as temporary:
            temporary.touch()
        temporary.touch()  # as if its process had been killed
    half = tmp_path / ".codes.0123abcd.tmp"  # a folder whose removal was cut off
    half.mkdir()
    (half / "x").touch()
    files.remove_leftovers(tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {path.name for path in kept} | {"deeper", *whole}
    files.remove_leftovers(tmp_path / "nowhere")


def test_a_folder_is_gone_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "x").touch()
    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", lambda path: None)  # killed before it has removed anything
        files.remove_folder(tmp_path / "codes")
    assert not (tmp_path / "codes").exists()
    files.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    files.check_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("url", ["gs://bucket/run", pathlib.Path("gs://bucket/run"), "s3://bucket"])
def test_urls_are_not_taken_for_folders(url):
    with pytest.raises(ValueError, match=r"^(gs|s3):/.* is no folder .*: mount it"):
        files.check_local(url, "mount it")
    for path in ("gs/run", "/mnt/gs:/run", "run:1"):
        files.check_local(path, "mount it")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(
        OSError, match=r"file/run cannot be written \(Not a directory\): make room there, or take another"
    ):
        files.check_folder(tmp_path / "file" / "run")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
        files.check_folder(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
