"""LPIPS from its two published files, or from one state dict of the entire module."""

import jax
import numpy as np
import pytest

from leo_jax.convert.lpips import load, lpips
from leo_jax.weights import save_tree
from tests.models.seeded_frozen import state_dict


def test_two_files_and_one_give_the_same():
    whole = state_dict("lpips")
    linear = {k: v for k, v in whole.items() if k.startswith("lin")}
    alexnet = {f"features.{k.split('.', 2)[2]}": v for k, v in whole.items() if k.startswith("net.")}
    alexnet |= {"classifier.1.weight": np.zeros((4096, 9216), np.float32)}
    doubled = {f"lins.{k[3:]}": v for k, v in linear.items()} | {"scaling_layer.shift": np.zeros((1, 3, 1, 1))}
    jax.tree.map(np.testing.assert_array_equal, lpips(alexnet, linear), lpips(whole | doubled))
    with pytest.raises(ValueError, match=r"is missing: nothing in the file gives lin0"):
        lpips(alexnet)


def test_loading_says_where_weights_come_from(tmp_path):
    for path in (None, tmp_path / "lpips.npz"):
        with pytest.raises(
            FileNotFoundError, match=r"(?s)AlexNet.*leo convert lpips --checkpoint .* --linear alex.pth"
        ):
            load(path)
    save_tree(tmp_path / "lpips.npz", lpips(state_dict("lpips")))
    assert load(tmp_path / "lpips.npz")["conv0_kernel"].shape == (11, 11, 3, 64)
