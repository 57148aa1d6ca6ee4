"""What pages and launch files tell people to type exists: flags of the commands, fields of the configs, files."""

import inspect
import re

import pytest

from leo_jax import cli
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
