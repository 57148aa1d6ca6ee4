"""`leo`: answers at once, hands its flags on, and turns bad input into one line."""

import subprocess
import sys
import types

import pytest

from leo_jax import api, cli, main


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


def test_animate_flags(monkeypatch):
    calls = stand_in(monkeypatch, "leo_jax.sampling.animate", "animate")
    monkeypatch.setattr(api, "load", lambda model: types.SimpleNamespace(renderer=f"renderer of {model}"))
    cli.main("animate --model m --source s.jpg --driving d.mp4 --out o.mp4 --relative --side_by_side".split())
    ((arguments, options),) = calls
    assert [str(a) for a in arguments] == ["renderer of m", "s.jpg", "d.mp4", "o.mp4"]
    assert options == {"relative": True, "crop": False, "side_by_side": True}


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    arguments = ["convert", "lia", "--checkpoint", str(tmp_path / "vox.pt"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^error: no weights at .*vox\.pt"):
        cli.main(arguments)
    monkeypatch.setenv("LEO_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(arguments)
