"""The converter of released LIA checkpoints: what it accepts, what it refuses, and what it leaves behind."""

import json
import pathlib

import numpy as np
import pytest
from flax import traverse_util

from leo_jax import convert, weights
from leo_jax.convert import torch_file
from leo_jax.convert.lia import animator_rules, discriminator_rules, sizes_of
from leo_jax.convert.rules import released_names
from tests.goldens import lia


@pytest.fixture(scope="module")
def state():
    return lia.state_dict()


def test_reports_what_it_found_and_what_nothing_uses(state, tmp_path):
    found = convert.lia(state, tmp_path / "model")
    assert (found.size, found.width, found.code_dim, found.discriminator) == (64, 1.0, 20, True)
    assert len(found.unused) == 12 and all("noise.weight" in n or "to_rgb1" in n for n in found.unused)
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["animator"] == {"size": 64, "width": 1.0, "code_dim": 20}
    assert described["unused"] == list(found.unused)


@pytest.mark.parametrize("form", ["bare generator", "prefixed", "data parallel"])
def test_accepts_the_forms_that_checkpoints_come_in(state, tmp_path, form):
    if form == "bare generator":
        given = state["gen"]
    elif form == "prefixed":
        given = {f"{n}.{k}": v for n, part in state.items() for k, v in part.items()}
    else:
        given = {n: {f"module.{k}": v for k, v in part.items()} for n, part in state.items()}
    (tmp_path / "discriminator.npz").touch()  # of an older model
    assert convert.lia(given, tmp_path).discriminator == (form != "bare generator")
    assert (tmp_path / "discriminator.npz").exists() == (form != "bare generator")


@pytest.mark.parametrize("size", [128, 256, 512])
def test_infers_the_size(size):
    last = size.bit_length() - 2
    names = {
        f"enc.net_app.convs.{last}.weight": np.zeros((512, 512, 4, 4), np.float32),
        "dec.direction.weight": np.zeros((512, 20), np.float32),
    }
    assert sizes_of(names) == (size, 1.0, 20)


def test_the_plan_of_the_original_gives_its_names_at_64_px():
    assert lia.released_shapes(64) == {**lia.keys("gen"), **lia.keys("dis")}


@pytest.mark.parametrize("size", [128, 256, 512])
def test_every_size_finds_its_places(size, tmp_path, monkeypatch):
    """Both networks of the released sizes, complete; every array holds a number of its own (and one number's memory)."""
    written = {}
    monkeypatch.setattr(weights, "save_model", lambda out, about, parts, without: written.update(parts))
    shapes = lia.released_shapes(size)
    numbers = {name: float(i + 1) for i, name in enumerate(shapes)}
    found = convert.lia(
        {
            name: lia.BLUR if name.endswith("kernel") else np.broadcast_to(np.float32(numbers[name]), shape)
            for name, shape in shapes.items()
        },
        tmp_path,
    )
    assert (found.size, found.discriminator) == (size, True)
    unused = {f"gen.{name}" for name in found.unused}
    assert all("noise.weight" in name or "to_rgb1" in name for name in unused)
    gen, dis = (traverse_util.flatten_dict(written[part], sep="/") for part in ("animator", "discriminator"))
    got = sorted(float(leaf.flat[0]) for leaf in (*gen.values(), *dis.values()))
    assert got == sorted(n for name, n in numbers.items() if name not in unused and not name.endswith("kernel"))
    for i in range(size.bit_length() - 3):
        r = 8 << i
        places = {
            f"generator/up_{r}/conv/kernel": f"gen.dec.convs.{2 * i}.conv.weight",
            f"generator/conv_{r}/bias": f"gen.dec.convs.{2 * i + 1}.activate.bias",
            f"generator/to_flow_{r}/conv/modulation/bias": f"gen.dec.to_flows.{i}.conv.modulation.bias",
            f"generator/to_rgb_{r}/output_bias": f"gen.dec.to_rgbs.{i}.bias",
            f"encoder/trunk/block_{size >> i + 1}/conv2/kernel": f"gen.enc.net_app.convs.{i + 1}.conv2.1.weight",
        }
        for ours, theirs in places.items():
            assert gen[ours].flat[0] == numbers[theirs], f"{ours} is not {theirs}"
        block = f"trunk/block_{size >> i + 1}/skip/kernel"
        assert dis[block].flat[0] == numbers[f"dis.convs.{i + 1}.skip.1.weight"], block


def damaged(state, damage):
    generator = dict(state["gen"])
    if damage == "missing":
        del generator["enc.fc.2.weight"]
    elif damage == "unknown":
        generator["dec.extra.weight"] = np.zeros(3, np.float32)
    elif damage == "not finite":
        generator["enc.fc.2.weight"] = np.full((512, 512), np.nan, np.float32)
    elif damage == "shape":
        generator["enc.fc.2.weight"] = np.zeros((512, 100), np.float32)
    else:
        generator["enc.fc.2.weight"] = np.zeros(512, np.float32)
    return {"gen": generator}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("missing", r"enc\.fc\.2\.weight is missing: nothing in the file gives code_head/linear_2/kernel \(512, 512\)"),
        ("unknown", r"dec\.extra\.weight \(3,\): not a name of"),
        ("shape", r"enc\.fc\.2\.weight: shape \(512, 100\)"),
        ("rank", r"enc\.fc\.2\.weight: shape \(512,\) where 2 axes"),
        ("not finite", r"LIA generator of 64 px: 1 of its arrays hold NaN or infinity: enc\.fc\.2\.weight\."),
    ],
)
def test_names_what_does_not_fit_and_writes_nothing(state, tmp_path, damage, says):
    with pytest.raises(ValueError, match=says):
        convert.lia(damaged(state, damage), tmp_path / "model")
    assert not (tmp_path / "model").exists(), "something was left half-written"


def test_rules_are_inverted_to_the_released_names():
    names = released_names([*animator_rules(64), *discriminator_rules(64)])
    assert names["generator/up_16/conv/kernel"] == "dec.convs.2.conv.weight"
    assert names["trunk/block_16/conv2/kernel"] == "convs.2.conv2.*.weight"


def test_an_older_model_is_never_taken_for_the_new_one(tmp_path, monkeypatch):
    weights.save_model(tmp_path, {}, {"animator": {"a": np.zeros(1)}})
    monkeypatch.delattr(weights, "save_tree")  # as a kill at the first part
    with pytest.raises(NameError):
        weights.save_model(tmp_path, {}, {"animator": {"a": np.ones(1)}})
    assert not (tmp_path / "model.json").exists(), "half a model says that it is whole"


def test_a_file_is_no_place_for_a_model(state, tmp_path):
    (tmp_path / "vox.npz").touch()
    with pytest.raises(ValueError, match=r"vox\.npz is a file.*name a folder"):
        convert.lia(state, tmp_path / "vox.npz")


def test_another_network_is_refused_with_its_first_names(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)not a LIA generator.*conv1\.weight"):
        convert.lia({"conv1.weight": np.zeros((1, 2), np.float32)}, tmp_path / "model")


def test_another_blur_is_told(state, tmp_path):
    generator = {k: np.ones((4, 4), np.float32) if k.endswith("kernel") else v for k, v in state["gen"].items()}
    with pytest.warns(UserWarning, match="blur"):
        convert.lia(generator, tmp_path)


def test_reads_npz_and_safetensors(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"gen.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "dis.b": np.ones(2, np.float32)}
    np.savez(tmp_path / "w.npz", **arrays)
    save_file(arrays, tmp_path / "w.safetensors")
    for name in ("w.npz", "w.safetensors"):
        read = torch_file.read(tmp_path / name)
        assert set(read) == set(arrays)
        np.testing.assert_array_equal(read["gen.a.weight"], arrays["gen.a.weight"])


def test_reads_released_torch_files_and_runs_nothing_in_them(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `convert`")
    import argparse

    released = {
        "gen": {"w": torch.arange(3.0)},
        "dis": {},
        "args": argparse.Namespace(lr=0.002),
        "g_optim": {"state": {}},
    }
    torch.save(released, tmp_path / "vox.pt")
    read = torch_file.read(tmp_path / "vox.pt")
    np.testing.assert_array_equal(read["gen"]["w"], [0, 1, 2])
    assert set(read) == {"gen"}, "only arrays are kept"

    class Bad:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "ran",))

    torch.save({"gen": Bad()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt cannot be read as weights alone"):
        torch_file.read(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        torch_file.read(tmp_path / "gone.pt")
    (tmp_path / "w.onnx").touch()
    with pytest.raises(ValueError, match=r"\.onnx"):
        torch_file.read(tmp_path / "w.onnx")
    (tmp_path / "w.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"w\.npz is not a readable"):
        torch_file.read(tmp_path / "w.npz")
    (tmp_path / "w.safetensors").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"w\.safetensors is not a readable"):
        torch_file.read(tmp_path / "w.safetensors")
    np.savez(tmp_path / "pickled.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"pickled\.npz"):
        torch_file.read(tmp_path / "pickled.npz")
