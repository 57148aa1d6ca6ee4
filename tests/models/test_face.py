"""FaceNet against the published network on seeded weights, through the converter."""

import jax
import numpy as np

from leo_jax.convert.face import face
from leo_jax.models.frozen.face import FaceNet
from tests.models.seeded_frozen import GOLDEN, bytes_image, state_dict


def test_features():
    params = face(state_dict("face"))
    images = bytes_image("face", (2, 128, 128, 3))
    np.testing.assert_allclose(
        ((images + 1) * 127.5).sum(dtype=np.float64), GOLDEN["face/image_uint8_checksum"], rtol=1e-6
    )
    features = jax.jit(FaceNet().apply)({"params": params}, images)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    expected = GOLDEN["face/features"]
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
