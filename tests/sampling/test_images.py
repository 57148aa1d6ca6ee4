"""Photos of every kind of pixel are read as the person sees them."""

import numpy as np
import PIL.Image
import pytest

from leo_jax.sampling.images import read_photo

RAMP = np.linspace(0, 255, 32).round().astype(np.uint8)[None].repeat(4, 0)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_of_8_and_of_16_bits(tmp_path, mode):
    pixels = RAMP if mode == "L" else RAMP.astype(np.uint16) * 257
    PIL.Image.fromarray(pixels).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "grey.png"), RAMP[..., None].repeat(3, -1))


def test_floats_are_refused(tmp_path):
    PIL.Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match=r"float.tiff holds floating-point numbers"):
        read_photo(tmp_path / "float.tiff")


def test_transparency_lies_on_white(tmp_path):
    PIL.Image.fromarray(np.dstack([RAMP] * 3 + [np.zeros_like(RAMP)])).save(tmp_path / "clear.png")
    assert (read_photo(tmp_path / "clear.png") == 255).all()
