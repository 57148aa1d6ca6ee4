"""Both published layouts of the re-identification ResNet-50 give one tree."""

import jax
import numpy as np
import pytest

from leo_jax.convert.reid import load, reid
from leo_jax.weights import save_tree
from tests.models.seeded_frozen import state_dict


def test_layumis_and_torchreids_names():
    state = state_dict("reid")
    classifier = {"classifier.add_block.0.weight": np.zeros((512, 2048)), "model.fc.bias": np.zeros(1000)}
    tree = reid(state | classifier)
    torchreid = {k.replace("model.", "module."): v for k, v in state.items()}
    again = reid({"state_dict": torchreid | {"module.classifier.weight": np.zeros((751, 2048))}, "epoch": np.int64(60)})
    jax.tree.map(np.testing.assert_array_equal, tree, again)
    np.testing.assert_array_equal(tree["layer3_0"]["skip"]["mean"], state["model.layer3.0.downsample.1.running_mean"])


def test_another_network_is_refused():
    state = {k: v for k, v in state_dict("reid").items() if "layer4.2" not in k}
    with pytest.raises(ValueError, match=r"(?s)not a re-identification ResNet-50.*layer4_2/conv1/kernel"):
        reid(state)


def test_loading_says_where_weights_come_from(tmp_path):
    for path in (None, tmp_path / "reid.npz"):
        with pytest.raises(FileNotFoundError, match=r"(?s)Market-1501.*leo convert reid --checkpoint"):
            load(path)
    save_tree(tmp_path / "reid.npz", reid(state_dict("reid")))
    assert load(tmp_path / "reid.npz")["stem"]["kernel"].shape == (7, 7, 3, 64)
