"""From videos to figures: the commands that are called exist with these flags, in this order, and a stop is a stop."""

import functools
import shlex
import signal

import pytest

from leo_jax import cli
from leo_jax.metrics.paper import DATASETS
from leo_jax.metrics.protocols import PROTOCOLS
from tests.launch.scripts import LAUNCH, ROOT, Stubs, wait_for_line

SCRIPT = LAUNCH / "reproduce.sh"


@pytest.fixture
def stubs(tmp_path):
    """`leo` and the training, which write their arguments down, quoted, and make what they are to make."""
    found = Stubs(tmp_path)
    quoted = f'printf "%q " {{}} "$@" >>{found.folder}/quoted; echo >>{found.folder}/quoted; '
    make = 'while (($#)); do [[ $1 == --out && $2 == *.* ]] && echo made >"$2"; shift; done'
    found.add("leo", quoted.format("leo") + make)
    found.add("python", quoted.format("python"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "vgg19.pth").touch()
    return found


def commands(stubs):
    """The commands so far, split as the shell did it."""
    found = [shlex.split(line) for line in (stubs.folder / "quoted").read_text().splitlines()]
    assert found[0][:2] == ["python", "-c"], "the last command's weights are asked for first"
    compile(found[0][2], "the question", "exec")
    return found[1:]


def reproduce(stubs, name, *flags):
    folder = stubs.folder.parent
    data = (f"--videos={folder / 'videos'}", f"--vgg19={folder / 'vgg19.pth'}") if name != "puppets" else ()
    return stubs.run(SCRIPT, name, folder / "out", *data, *flags, PYTHON="python", NUM="")


@pytest.mark.parametrize("name", ["taichi", "taichi:128", "faceforensics", "celebvhq", "ucf101", "puppets"])
def test_commands_are_those_of_the_package(name, stubs, monkeypatch, tmp_path):
    code, output = reproduce(stubs, name, "--config.motion.steps=7")
    assert code == 0, output
    ran = commands(stubs)
    before = [] if name == "puppets" else ["convert", "prepare"]
    assert [c[1] if c[0] == "leo" else c[2] for c in ran] == [*before, "leo_jax.main", "evaluate", "evaluate"]

    seen = []
    for command in set(before) | {"evaluate"}:
        taken = functools.wraps(cli.COMMANDS[command])(lambda *_, **given: seen.append(given))
        monkeypatch.setitem(cli.COMMANDS, command, taken)
    for command in ran:
        if command[0] == "leo":
            cli.main(command[1:])  # fails on a flag that it does not have, or a value of another type
    first, second = seen[-2:]
    assert (first["unconditional"], second["unconditional"]) == (False, True)
    assert first["protocol"] in PROTOCOLS and set(first["metrics"].split(",")) <= {"fvd", "kvd"}
    assert first["dataset"] in (None, *DATASETS) and (first["dataset"] is None) == (name == "puppets")
    assert str(first["fake"]) == f"{tmp_path}/out/run" and first["real_split"] == "train"

    (train,) = [c for c in ran if c[0] == "python"]
    config = next(flag.partition("=")[2] for flag in train if flag.startswith("--config="))
    file, _, variant = config.partition(":")
    assert file == f"{ROOT}/configs/{name.partition(':')[0]}.py" and variant == name.partition(":")[2]
    assert f"--config.data.dir={first['real']}" in train and train[-1] == "--config.motion.steps=7"


def test_again_goes_on_after_what_is_finished(stubs, tmp_path):
    reproduce(stubs, "taichi")
    (stubs.folder / "quoted").unlink()
    assert reproduce(stubs, "taichi")[0] == 0
    ran = [c[1] if c[0] == "leo" else c[2] for c in commands(stubs)]
    assert ran == ["prepare", "leo_jax.main"], "these two see for themselves what there is to do"


@pytest.mark.parametrize("name", ["taichi", "puppets"])
def test_a_failed_step_is_the_last(name, stubs):
    stubs.add("python", "exit 9")
    code, output = reproduce(stubs, name)
    assert code == 9 and not [c for c in stubs.calls("leo") if "evaluate" in c], output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_reaches_the_training_and_is_the_last(number, stubs, tmp_path):
    saves = f"sleep 0.5; echo python saves >>{stubs.log}; exit 75"
    stubs.add("python", f"trap '{saves}' TERM; while :; do sleep 0.1; done")
    process = stubs.start(SCRIPT, "puppets", tmp_path / "out", PYTHON="python", LEO_PREEMPTED_EXIT="75")
    wait_for_line(stubs.log, "python", process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and stubs.calls("python saves"), output
    assert not stubs.calls("leo"), "it measured a training that was not over"


def test_says_what_it_needs(stubs, tmp_path):
    for given, message in (
        (["taichi", tmp_path], "needs --videos=DIR and --vgg19=FILE"),
        (["ted", tmp_path], "ted: none of"),
    ):
        code, output = stubs.run(SCRIPT, *given)
        assert code == 2 and message in output and "usage:" in output
