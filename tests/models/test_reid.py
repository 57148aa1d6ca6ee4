"""The re-identification ResNet-50 against the published network on seeded weights, through the converter."""

import jax
import numpy as np

from leo_jax.convert.reid import reid
from leo_jax.models.frozen.reid import ReID
from tests.models.seeded_frozen import GOLDEN, bytes_image, state_dict


def test_features():
    params = reid(state_dict("reid"))
    features = jax.jit(ReID().apply)({"params": params}, bytes_image("reid", (1, 288, 144, 3)))
    expected = GOLDEN["reid/features"]
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())
