"""`leo`: answers at once, hands its flags on, and turns bad input into one line."""

import importlib
import math
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from leo_jax import api, cli, main
from leo_jax.sampling import command
from leo_jax.sampling import edit as editing
from tests.goldens import lia


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom leo_jax import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'jax', 'flax', 'cv2', 'absl', 'orbax', 'grain', 'torch', 'tensorflow'} & set(sys.modules)\n"
        "assert not heavy, f'leo --help imports {heavy}'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS), done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert not end.value.code
    assert "usage: leo" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["verify", "reindex"])
def test_nothing_to_check_is_no_success(name):
    with pytest.raises(SystemExit, match=rf"^error: name the .*leo {name} "):
        cli.main([name])


def test_train_hands_everything_on(monkeypatch):
    seen = []
    monkeypatch.setattr(main, "start", seen.append)
    cli.main(["train", "--config=configs/puppets.py:full", "--workdir=x", "--config.animator.steps=3"])
    assert seen == [["leo train", "--config=configs/puppets.py:full", "--workdir=x", "--config.animator.steps=3"]]


def stand_in(monkeypatch, module, name):
    """Replaces `module` by one whose `name` records how it is called."""
    calls = []
    fake = types.ModuleType(module)
    setattr(fake, name, lambda *arguments, **options: calls.append((arguments, options)))
    monkeypatch.setitem(sys.modules, module, fake)
    return calls


def test_prepare_flags(monkeypatch):
    calls = stand_in(monkeypatch, "leo_jax.data.prepare", "prepare")
    flags = (
        "--videos in --out o --size 128 --name taichi --fps 12.5 --crop boxes:b.csv --workers 3 --lossless --skip_bad"
    )
    cli.main(["prepare", *flags.split()])
    ((arguments, options),) = calls
    assert [str(a) for a in arguments] == ["in", "o"]
    assert (options["size"], options["name"], options["fps"], options["crop"]) == (128, "taichi", 12.5, "boxes:b.csv")
    assert (options["workers"], options["lossless"], options["skip_bad"]) == (3, True, True)


def write_weights(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_convert_lia_makes_a_model(suffix, tmp_path, capsys):
    """A checkpoint with both networks becomes a directory that loads; no PyTorch is needed for these files."""
    random = np.random.default_rng(0)
    shapes = lia.released_shapes(8, width=1 / 32)
    state = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    state |= {name: lia.BLUR for name in state if name.endswith("kernel")}
    checkpoint = write_weights(tmp_path / f"vox{suffix}", state)
    cli.main(["convert", "lia", "--checkpoint", checkpoint, "--out", str(tmp_path / "vox")])
    printed = capsys.readouterr().out
    model = api.load(tmp_path / "vox")
    count = sum(leaf.size for leaf in jax.tree.leaves(model.renderer.params))
    assert f"an animator of 8 px, {count:,} parameters, with its discriminator" in printed
    assert "nothing uses: dec.conv1.noise.weight, " in printed
    theirs = state["gen.dec.to_rgbs.0.conv.0.weight"]
    ours = model.renderer.params["generator"]["to_rgb_8"]["kernel"]
    np.testing.assert_array_equal(ours, theirs.transpose(2, 3, 1, 0))
    assert (tmp_path / "vox" / "discriminator.npz").exists()


def test_convert_vgg19_makes_what_training_reads(tmp_path, capsys):
    state = lia.vgg_state_dict()
    checkpoint, out = write_weights(tmp_path / "vgg.npz", state), tmp_path / "vgg19.npz"
    cli.main(["convert", "vgg19", "--checkpoint", checkpoint, "--out", str(out)])
    assert f"--config.animator.vgg19={out}" in capsys.readouterr().out
    read = importlib.import_module("leo_jax.convert.vgg19").load(out)  # its package gives the function that name
    np.testing.assert_array_equal(read["conv5_1_kernel"], state["features.28.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(read["conv1_2_bias"], state["features.2.bias"])


def test_animate_flags(monkeypatch):
    calls = stand_in(monkeypatch, "leo_jax.sampling.animate", "animate")
    monkeypatch.setattr(api, "load", lambda model: types.SimpleNamespace(renderer=f"renderer of {model}"))
    cli.main("animate --model m --source s.jpg --driving d.mp4 --out o.mp4 --relative --side_by_side".split())
    ((arguments, options),) = calls
    assert [str(a) for a in arguments] == ["renderer of m", "s.jpg", "d.mp4", "o.mp4"]
    assert options == {"relative": True, "crop": False, "side_by_side": True}


def loaded(monkeypatch):
    """Replaces loading: the model's parts are the words for them."""
    monkeypatch.setattr(api, "load", lambda model: types.SimpleNamespace(renderer=f"{model}'s", sampler="sampler"))


def test_sample_flags(monkeypatch):
    loaded(monkeypatch)
    calls = []
    monkeypatch.setattr(command, "sample", lambda *a, **given: calls.append((a, given)) or [])
    cli.main(
        "sample --model m --image a.png b.png --num 4 --frames inf --steps 9 --seed 5 --out d --transition --grid".split()
    )
    ((arguments, given),) = calls
    assert [str(a) for a in arguments] == ["m's", "sampler", "d"] and [str(i) for i in given["image"]] == [
        "a.png",
        "b.png",
    ]
    assert (given["num"], given["frames"], given["steps"], given["seed"]) == (4, math.inf, 9, 5)
    assert (given["transition"], given["grid"], given["crop"], given["fps"]) == (True, True, False, None)
    cli.main("sample --model m --out d".split())
    assert (calls[1][1]["num"], calls[1][1]["frames"], calls[1][1]["image"]) == (1, 64, ())


def test_sample_renders_codes_and_disentangles(monkeypatch):
    loaded(monkeypatch)
    calls = []
    for name in ("render", "disentangle"):
        monkeypatch.setattr(command, name, lambda *a, name=name, **given: calls.append((name, given)) or [])
    cli.main("sample --model m --codes c.npz --image a.png --relative --fps 12 --out d".split())
    cli.main("sample --model m --image a.png --disentangle --frames 32 --out d".split())
    (one, rendered), (other, taken_apart) = calls
    assert (one, str(rendered["codes"]), rendered["relative"], rendered["fps"]) == ("render", "c.npz", True, 12)
    assert rendered["frames"] is None, "all codes are rendered"
    assert (other, taken_apart["num"], taken_apart["frames"]) == ("disentangle", 3, 32)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--frames 0", "0 frames"),
        ("--frames many", "--frames many"),
        ("--codes c.npz --num 2", "--num"),
        ("--codes c.npz --seed 0 --steps 9", "--steps, --seed would change nothing"),
        ("--relative", "goes with --codes"),
        ("--disentangle --transition", "leave out --transition"),
    ],
)
def test_sample_tells_what_does_not_go_together(monkeypatch, flags, says):
    loaded(monkeypatch)
    with pytest.raises(SystemExit, match=says):
        cli.main(["sample", "--model", "m", "--out", "o", *flags.split()])


def test_edit_flags(monkeypatch):
    loaded(monkeypatch)
    calls = []
    monkeypatch.setattr(editing, "edit", lambda *a, **given: calls.append((a, given)) or 1)
    monkeypatch.setattr(editing, "export_first_frame", lambda *a: calls.append((a, {})) or (1, 1))
    cli.main("edit --model m --video v.mp4 --edited_first_frame e.png --out o.mp4 --relative".split())
    cli.main("edit --video v.mp4 --export_first_frame f.png".split())
    assert [str(a) for a in calls[0][0]] == ["m's", "v.mp4", "e.png", "o.mp4"] and calls[0][1] == {"relative": True}
    assert [str(a) for a in calls[1][0]] == ["v.mp4", "f.png"] and len(calls) == 2
    with pytest.raises(SystemExit, match="are needed to edit"):
        cli.main("edit --video v.mp4".split())
    with pytest.raises(SystemExit, match="--edited_first_frame is needed too"):
        cli.main("edit --video v.mp4 --export_first_frame f.png --relative".split())


def test_interruption_is_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("what there was is in o.partial.mp4")

    loaded(monkeypatch)
    monkeypatch.setattr(command, "sample", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main("sample --model m --out o.mp4".split())
    assert end.value.code == 130 and capsys.readouterr().err == "interrupted: what there was is in o.partial.mp4\n"


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    arguments = ["convert", "lia", "--checkpoint", str(tmp_path / "vox.pt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^error: no weights at .*vox\.pt\. LIA's authors"):
        cli.main(arguments)
    monkeypatch.setenv("LEO_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(arguments)
