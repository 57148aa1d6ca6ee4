"""Records survive serialization, and their frames can be found inside the bytes."""

import dataclasses
import itertools

import numpy as np
import pytest

from leo_jax.data import records
from tests.data import samples


def test_every_field_survives():
    extras = {
        "joints": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "visible": np.array([True, False]),
        "count": np.array(3, np.int64),
        "none": np.zeros((0, 4)),
        "big_endian": np.arange(3, dtype=">i4"),
    }
    record = dataclasses.replace(samples.record(5), extras=extras, source="Übung/a b.mp4", fps=29.97)
    again = records.decode(records.encode(record))
    assert again.fps == pytest.approx(29.97, rel=1e-6)
    assert set(again.extras) == set(extras)
    for name, value in extras.items():
        np.testing.assert_array_equal(again.extras[name], value)
        assert again.extras[name].shape == value.shape
        assert again.extras[name].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert dataclasses.replace(again, extras={}, fps=25.0) == dataclasses.replace(record, extras={}, fps=25.0)


def test_equal_records_give_equal_bytes():
    assert records.encode(samples.record(1)) == records.encode(samples.record(1))


def test_frames_are_found_in_the_bytes_even_when_equal():
    one = records.encode_frame(samples.picture(0))
    record = dataclasses.replace(samples.record(0), frames=(one, one, records.encode_frame(samples.picture(1)), one))
    serialized = records.encode(record)
    spans = records.frame_spans(serialized, record.frames)
    assert [serialized[start : start + length] for start, length in spans] == list(record.frames)
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(spans)), "frames overlap"


def test_lossless_is_exact_and_jpeg_close():
    image = samples.picture(3, 32)
    np.testing.assert_array_equal(records.decode_frame(records.encode_frame(image, lossless=True)), image)
    error = records.decode_frame(records.encode_frame(image)).astype(int) - image
    assert 0 < np.abs(error).max() <= 8, "JPEG at quality 95 changes a smooth picture a little, not at all or a lot"


@pytest.mark.parametrize("lossless", [False, True])
def test_cut_frames_are_refused(lossless):
    encoded = records.encode_frame(samples.picture(0, 64), lossless)
    with pytest.raises(ValueError, match=r"bytes"):
        records.decode_frame(encoded[: len(encoded) // 2])


def test_foreign_bytes_are_refused():
    with pytest.raises(ValueError, match="not a video record: no feature"):
        records.decode(b"")
    with pytest.raises(ValueError, match="not a tf"):
        records.decode(b"abc")


def test_objects_are_refused_as_extras():
    with pytest.raises(TypeError, match="only numbers"):
        records.encode(dataclasses.replace(samples.record(0), extras={"x": np.array(["text"])}))


def test_tensorflow_reads_the_example():
    tf = pytest.importorskip("tensorflow")
    example = tf.train.Example.FromString(records.encode(samples.record(2)))
    assert example.features.feature["id"].bytes_list.value[0] == b"clip-0002"
    picture = tf.io.decode_image(example.features.feature["frames"].bytes_list.value[1]).numpy()
    assert (picture == (2, 1, 7)).all()


@pytest.mark.parametrize("lossless", [False, True])
def test_decoding_into_an_earlier_frames_memory(lossless):
    """Larger and smaller frames come out as into fresh memory; damaged ones are refused all the same."""
    pictures = [samples.picture(i, size) for i, size in enumerate((32, 16, 48, 32))]
    kept = None
    for picture in pictures:
        encoded = records.encode_frame(picture, lossless)
        kept = records.decode_frame(encoded, kept)
        np.testing.assert_array_equal(kept, records.decode_frame(encoded))
    with pytest.raises(ValueError, match=r"damaged PNG|neither PNG nor readable JPEG"):
        records.decode_frame(encoded[:-40], kept)
