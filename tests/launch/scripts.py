"""Stand-ins for the programs that launch scripts call, and a way to run the scripts with them."""

import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch")])
YAMLS = sorted(LAUNCH.rglob("*.yaml"))
DOCKERFILES = sorted(LAUNCH.rglob("*.Dockerfile"))
FILES = [*SCRIPTS, *YAMLS, *DOCKERFILES]


def name(path):
    return str(path.relative_to(LAUNCH))


class Stubs:
    """A folder that comes first on PATH; each stub writes its arguments to `calls` and then does what its body says."""

    def __init__(self, folder):
        self.folder, self.log = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self.log.touch()

    def add(self, program, body="", folder=None):
        path = (folder or self.folder) / program
        path.parent.mkdir(parents=True, exist_ok=True)
        # Built in full and written at once, so that the lines of programs that run at the same time do not mix.
        path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "{program} $*" >>"{self.log}"\n{body}\n')
        path.chmod(0o755)
        return path

    def calls(self, program=""):
        return [line for line in self.log.read_text().splitlines() if line.startswith(program)]

    def start(self, script, *arguments, cwd=ROOT, **environment):
        env = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = ["bash", str(script), *map(str, arguments)]
        return subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True, **pipes)

    def run(self, script, *arguments, **environment):
        """(exit code, output) of a script that ends by itself."""
        process = self.start(script, *arguments, **environment)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


def wait_for_line(path, text, process):
    """Returns when a line of the file starts with `text`; fails when the process ends before."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and any(line.startswith(text) for line in path.read_text().splitlines()):
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no line {text!r} in {path}; the script wrote:\n{process.communicate()[0]}")
