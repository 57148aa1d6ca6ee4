"""What pages and launch files tell people to type exists: flags of the commands, fields of the configs, files."""

import inspect
import math
import re

import jax
import numpy as np
import pytest

from leo_jax import cli, video, weights
from leo_jax.denoisers import inputs_of
from leo_jax.experiment.animator import networks
from leo_jax.experiment.denoisers import denoiser_of
from leo_jax.metrics import paper
from tests.experiment.tiny import ROOT, load

TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = [*TEXTS, *sorted(p for p in (ROOT / "launch").rglob("*") if p.is_file() and p.suffix != ".pyc")]
FILES += sorted((ROOT / "configs").glob("*.py"))
CODE = re.compile(r"```.*?```|``?[^`]+``?", re.DOTALL)
SUBCOMMANDS = {**cli.COMMANDS, **{f"study {name}": command for name, command in cli.STUDY.items()}}
TRAINING = {"config", "workdir", "profile", "stages", "animator", "accept_changes", "verify"}
# `leo SUBCOMMAND …` to the end of its line, comments and what a | or && begins left out.
COMMAND = re.compile(r"\bleo (study \w+|[a-z]+)((?:\\\n|[^\n`#|&])*)")


def commands(text):
    """(subcommand, names of its flags) of every `leo …` in code."""
    found = []
    for code in CODE.findall(text):
        for name, rest in COMMAND.findall(code):
            if name in SUBCOMMANDS:
                found.append((name, re.findall(r"(?<![\w-])--([a-z_0-9.]+)", rest)))
    return found


def test_commands_are_found():
    told = {name for path in TEXTS for name, _ in commands(path.read_text())}
    assert told >= set(SUBCOMMANDS) - {"study"}, f"no page tells of leo {set(SUBCOMMANDS) - {'study'} - told}"
    text = "```sh\nleo sample --model m \\\n    --grid  # --no\nls --all\n```\n`leo edit --wrong`"
    assert commands(text) == [("sample", ["model", "grid"]), ("edit", ["wrong"])]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_flags_of_commands_exist(path):
    for name, flags in commands(path.read_text()):
        known = TRAINING if name == "train" else set(inspect.signature(SUBCOMMANDS[name]).parameters)
        wrong = [flag for flag in flags if flag.partition(".")[0] not in known]
        assert not wrong, f"{path.name}: leo {name} has no --{', --'.join(wrong)}"


@pytest.mark.usefixtures("optimised")
def test_the_readmes_python_runs(tmp_path, monkeypatch):
    """Block after block, as in one notebook, from an empty folder; the videos are of the lengths and rates it tells."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2, "the blocks are not found as they are written"
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # of our own page
    told = {"moved.mp4": (48, names["dancer"].fps), "made.mp4": (512, names["model"].fps)}
    assert {p.name for p in tmp_path.iterdir()} == set(told)
    for name, (frames, fps) in told.items():
        info = video.probe(tmp_path / name)
        assert (info.frames, info.height, info.width) == (frames, 64, 64), name
        assert float(info.fps) == pytest.approx(fps), name


def test_fields_of_configs_exist():
    config = load("puppets")
    for path in FILES:
        for field in re.findall(r"--config\.([a-z_0-9]+(?:\.[a-z_0-9]+)+)", path.read_text()):
            if field == "a.b":  # stands for any
                continue
            at = config
            for name in field.split("."):
                assert name in at, f"{path.name}: --config.{field}: no such field"
                at = at[name]


def test_files_exist():
    for path in FILES:
        for name in re.findall(
            r"(?<![\w/.-])((?:configs|launch|benchmarks|docs|tests|leo_jax(?!/launch))/[\w/.-]*\w\.\w+)",
            path.read_text(),
        ):
            assert (ROOT / name).exists(), f"{path.name} names {name}, which is not there"
    for path in TEXTS:
        for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / name).exists(), f"{path.name} links {name}, which is not there"


def spec():
    """{number: text} of docs/spec.md's sections."""
    _, *texts = re.split(r"^## (?=\d)", (ROOT / "docs" / "spec.md").read_text(), flags=re.MULTILINE)
    return {text.partition(".")[0]: text for text in texts}


def test_cited_sections_exist():
    """`SPEC §1, flow head` in a docstring is section 1 of docs/spec.md, and its item in bold."""
    sections = {number: text.lower() for number, text in spec().items()}
    cited = set()
    for path in sorted((ROOT / "leo_jax").rglob("*.py")):
        for numbers, part in re.findall(r'SPEC (§\d+(?:, §\d+)*)(?:, "?([A-Za-z ]+)"?\))?', path.read_text()):
            for number in re.findall(r"\d+", numbers):
                cited.add((number, part.lower()))
                assert number in sections, f"{path.name} cites SPEC §{number}: docs/spec.md has {sorted(sections)}"
                assert f"**{part.lower()}" in sections[number] or not part, (
                    f"{path.name} cites SPEC §{number}, {part}: no item of that name in docs/spec.md"
                )
    assert {("1", "flow head"), ("3", ""), ("5", "")} <= cited, "the citations are not found as they are written"


def test_spec_has_the_figures_of_the_paper():
    for row in paper.ROWS:
        for metric, (value, deviation) in row.values.items():
            figure = f"{value:g}" if deviation is None else rf"{value:g}(\.0)? ± {deviation:g}(\.0)?"
            assert re.search(rf"(?<![\d.]){figure}(?![\d.]*\d)", spec()["6"]), (
                f"{row.system}, {metric} {value} is not in §6"
            )


def test_spec_has_the_numbers_of_parameters():
    """Of the faithful networks at 256 px, in the digits' groups that the page uses."""

    def told(section, shapes):
        number = f"{sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)):,}".replace(",", " ")
        assert f"{number} parameters" in " ".join(spec()[section].split()), f"{number} parameters: not in §{section}"

    config = load("celebvhq")
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
    animator, discriminator = networks(config)
    told("1", weights.shapes_of(animator, image, image))
    told("1", weights.shapes_of(discriminator, image))
    for name in ("start", "first_frame"):  # the others are counted in tests/models/test_unet.py
        denoiser = denoiser_of(config, name)
        told("3", weights.shapes_of(denoiser.module, *inputs_of(denoiser)))
