"""facenet-pytorch's state dict: complete, strict, and its classifier left out."""

import numpy as np
import pytest

from leo_jax.convert.face import face, load
from leo_jax.weights import save_tree
from tests.models.seeded_frozen import state_dict


def test_every_array_has_a_place():
    state = state_dict("face")
    tree = face(state | {"logits.weight": np.zeros((8631, 512)), "logits.bias": np.zeros(8631)})
    unit = state["repeat_2.3.branch1.2.conv.weight"]
    np.testing.assert_array_equal(tree["repeat_2_3"]["branch1_2"]["kernel"], np.transpose(unit, (2, 3, 1, 0)))
    np.testing.assert_array_equal(tree["mixed_6a"]["branch0"]["var"], state["mixed_6a.branch0.bn.running_var"])
    np.testing.assert_array_equal(tree["block8"]["bias"], state["block8.conv2d.bias"])


def test_wrong_weights_are_refused():
    state = state_dict("face")
    state["repeat_4.0.conv2d.bias"] = state.pop("block8.conv2d.bias")
    with pytest.raises(ValueError, match=r"(?s)not facenet-pytorch.*2 names.*repeat_4.*block8/bias"):
        face(state)


def test_loading_says_where_weights_come_from(tmp_path):
    for path in (None, tmp_path / "face.npz"):
        with pytest.raises(FileNotFoundError, match=r"(?s)vggface2\.pt.*leo convert face --checkpoint"):
            load(path)
    save_tree(tmp_path / "face.npz", face(state_dict("face")))
    assert load(tmp_path / "face.npz")["last"]["kernel"].shape == (1792, 512)
    save_tree(tmp_path / "face.npz", {"last": {"kernel": np.zeros((3, 3), np.float32)}})
    with pytest.raises(ValueError, match="as FaceNet"):
        load(tmp_path / "face.npz")
