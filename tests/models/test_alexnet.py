"""LPIPS against the published module on seeded weights, and what any distance must do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leo_jax.convert.lpips import lpips
from leo_jax.models.frozen.alexnet import LPIPS
from tests.goldens.seeded import image
from tests.models.seeded_frozen import GOLDEN, state_dict


@pytest.fixture(scope="module")
def distance():
    return functools.partial(jax.jit(LPIPS().apply), {"params": lpips(state_dict("lpips"))})


def test_distance(distance):
    a, b = (jnp.asarray(image(name, (2, 64, 80, 3))) for name in ("lpips a", "lpips b"))
    np.testing.assert_allclose(distance(a, b), GOLDEN["lpips/distance"], rtol=1e-4)
    np.testing.assert_allclose(distance(b, a), distance(a, b), rtol=1e-5, err_msg="not symmetric")
    np.testing.assert_array_equal(distance(a, a), 0)


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="31 px or more, got 30x64"):
        jax.eval_shape(LPIPS().init, jax.random.key(0), *[jnp.zeros((1, 30, 64, 3))] * 2)
