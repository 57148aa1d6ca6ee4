"""What holds for every file of launch/."""

import re
import subprocess

import pytest
import yaml

from leo_jax import cli
from tests.launch.scripts import DOCKERFILES, FILES, LAUNCH, ROOT, SCRIPTS, YAMLS, name

SHELLCHECK = ["shellcheck", "--shell=bash"]


def head(path):
    """The comment at the top, without its marks."""
    lines = path.read_text().splitlines()
    lines = lines[1:] if lines[0].startswith("#!") else lines
    end = next(i for i, line in enumerate(lines) if not line.startswith("#") or line.startswith("#SBATCH"))
    return "\n".join(line.removeprefix("#").strip() for line in lines[:end])


def test_all_places_are_covered():
    assert {name(path) for path in FILES} >= {
        "slurm/train.sbatch",
        "gke/jobset-tpu.yaml",
        "gke/jobset-gpu.yaml",
        "tpu_vm/create.sh",
        "tpu_vm/run.sh",
        "skypilot/gpu.yaml",
        "local_multiprocess.sh",
        "docker/tpu.Dockerfile",
        "docker/cuda.Dockerfile",
        "reproduce.sh",
    }


@pytest.mark.parametrize("path", FILES, ids=name)
def test_head_says_what_a_person_asks(path):
    text = head(path)
    for word in ("Starts:", "Costs", "Resumes"):
        assert word in text or word.lower() in text, f"{name(path)} does not say what it {word.lower()}"
    if path.name != "worker.sh":
        assert "docs/scale.md" in text, "the cost is worked out there"
    if path.parent.name in ("slurm", "gke", "tpu_vm", "skypilot") and path.name != "worker.sh":
        assert re.search(r"at least \d+ (chip|GPU)-hours", text), "what will it cost?"


def test_heads_cost_what_the_roofline_says():
    """The sums of docs/scale.md's schedule, for the chips that a head names."""
    scale = (ROOT / "docs" / "scale.md").read_text()
    hours = {
        row[0]: float(row[1]) for row in re.findall(r"^\| (\w+) \| [\d ]+ × \d+ \| [\d.]+ \| ([\d.]+) \|$", scale, re.M)
    }
    assert set(hours) == {"animator", "motion", "start", "transition", "first_frame"}
    chips, animator = f"{sum(hours.values()):.0f}", f"{hours['animator']:.0f}"
    h100, a100 = re.search(r"takes ([\d.]+) GPU-hours on 8 H100, ([\d.]+) on 8 A100", scale).groups()
    for path in FILES:
        text = " ".join(head(path).split())
        assert re.findall(r"at least (\d+) chip-hours of v5e .*?, (\d+) of them", text) in ([], [(chips, animator)]), (
            name(path)
        )
        gpus = re.findall(r"at least (\d+) GPU-hours of H100, or (\d+) of A100", text)
        assert gpus in ([], [(f"{float(h100):.0f}", f"{float(a100):.0f}")]), name(path)
        assert "hours" not in text or "in bfloat16" in text, f"{name(path)}: of which type?"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_shellcheck(path):
    done = subprocess.run([*SHELLCHECK, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert path.stat().st_mode & 0o111, "it cannot be executed"


def shell_parts():
    for path in YAMLS:
        for document in yaml.safe_load_all(path.read_text()):
            for part in ("setup", "run"):
                if part in document:
                    yield pytest.param(document[part], id=f"{name(path)}-{part}")


@pytest.mark.parametrize("text", list(shell_parts()))
def test_shellcheck_of_tasks(text):
    done = subprocess.run([*SHELLCHECK, "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_hadolint(path):
    done = subprocess.run(["hadolint", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_images_hold_what_they_run(path):
    text = path.read_text()
    context = (ROOT / ".dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.M):
        for source in sources.split():
            assert (ROOT / source).exists(), f"COPY {source}: there is no such file"
            assert f"!{source}" in context, f"COPY {source}: .dockerignore leaves it out"
    extras = re.search(r"pip install --no-cache-dir --editable '\.\[(.+)\]'", text)[1].split(",")
    setup = (ROOT / "setup.py").read_text()
    assert all(f'"{extra}": [' in setup for extra in extras), "setup.py has no such extra"
    needed = set(re.findall(r'ROOT / "(\w+[.\w]*)"', setup))
    copied = {part for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for part in line.split()}
    assert needed <= copied | {"leo_jax"}, "setup.py reads files that the image does not have"
    assert 'ENTRYPOINT ["tini", "--", "python", "-m", "leo_jax.main"]' in text, "SIGTERM would not reach the training"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_flags_and_files_exist(path):
    text = path.read_text()
    for config in re.findall(r"configs/(\w+)\.py", text):
        assert (ROOT / "configs" / f"{config}.py").exists()
    for file in re.findall(r"(?<![\w/])launch/([\w/]+\.\w+)", text):
        assert (LAUNCH / file).exists() or file == "aot.py", f"it names launch/{file}, which is not there"
    for command in re.findall(r"(?:run |`|^)leo ([a-z]+)", text, re.M):
        assert command in cli.COMMANDS, f"there is no `leo {command}`"


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_containers_are_run_with_the_hosts_shared_memory(path):
    assert "--ipc=host" in head(path), "workers that read hand batches over through it"
