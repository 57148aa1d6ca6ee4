"""TFDS writes and reads prepared data without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from leo_jax.data import records
from leo_jax.data.source import open_split
from leo_jax.data.writing import write_dataset
from tests.data import samples

CODE = """
import sys
import tensorflow_datasets as tfds
from leo_jax.data.tfds_builder import builder

builder(sys.argv[1], data_dir=sys.argv[2]).download_and_prepare()
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""


def test_written_and_read_by_tfds(tmp_path):
    prepared = tmp_path / "prepared"
    for split, items in (("train", range(5)), ("test", range(20, 22))):
        write_dataset(prepared, "clips", split, list(items), samples.make, num_shards=2, progress=False)
    subprocess.run([sys.executable, "-c", CODE, prepared, tmp_path / "tfds"], check=True)

    tfds = pytest.importorskip("tensorflow_datasets")
    for split in ("train", "test"):
        read = tfds.data_source("leo_videos/clips", split=split, data_dir=str(tmp_path / "tfds"))
        source = open_split(prepared, split)
        expected = {record.id: record for record in map(records.decode, (source[i] for i in range(len(source))))}
        assert len(read) == len(expected)
        for i in range(len(read)):
            example = read[i]
            record = expected.pop(example["id"].decode() if isinstance(example["id"], bytes) else str(example["id"]))
            assert (int(example["start"]), int(example["end"]), float(example["fps"])) == (0, 5, 25.0)
            frames = np.stack([records.decode_frame(frame) for frame in record.frames])
            np.testing.assert_array_equal(np.stack(list(example["frames"])), frames)
        assert not expected, "records are missing"


def test_not_a_prepared_folder(tmp_path):
    from leo_jax.data.tfds_builder import builder

    with pytest.raises(ValueError, match="not a prepared data set"):
        builder(tmp_path)
