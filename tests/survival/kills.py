"""Kills a whole run again and again, and compares what comes out in the end with a run that nobody disturbed.

    python -m tests.survival.kills OUT KILLS SEED [short]

The run is that of all stages, tiny: puppets, animator, codes, four denoisers, samples; a short one has a single denoiser, no
adversary and no samples. Prints a report and ends with 0 if nothing differs. Each start is a process of its own,
forked from one that has imported everything, which kills itself by SIGKILL a random while after a random event of the phase
whose turn it is; the last one goes through. Compiled programs come from a cache that the undisturbed run filled.
"""

import collections
import dataclasses
import json
import os
import pathlib
import random
import re
import signal
import sys
import threading
import time
import traceback

import jax
import numpy as np

from leo_jax import experiment, files, video, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.data import manifest, pipeline, writing
from leo_jax.training.logging import METRICS, read_rows
from tests.experiment.tiny import NETWORKS, tiny

# In the order in which a run comes to them; what a kill waits for there, and up to how many seconds after it.
PHASES = {
    "puppets": ("record", 0.05),
    "animator steps": ("step", 0.05),
    "animator save": ("save", 1.0),
    "codes": ("record", 0.02),
    "denoiser steps": ("step", 0.03),
    "denoiser save": ("save", 1.0),
    "sampling": ("frame", 0.03),
}
SHORT = tuple(PHASES)[:-1]  # those that a short run has
# What is trained is so small that LLVM's optimisations take longer.
FLAGS = "--xla_llvm_disable_expensive_passes=true --xla_backend_optimization_level=0"
CLOCK = ("images_per_second", "input_wait")


def config_of(folder, short=False):
    """Every network with a few checkpoints, and no pictures, which only take time."""
    config = tiny(folder, ("animator", "codes", "start") if short else ("animator", "codes", *NETWORKS, "sample"))
    config.animator.adversarial_weight = 0.0 if short else 1.0
    with config.unlocked():
        config.puppets.workers = config.code_puppets.workers = 0
    config.code_puppets.update({"num_train": 12, "num_test": 3})
    config.animator.update({"steps": 24, "log_every": 1, "checkpoint_every": 4, "picture_every": 0, "heldout_pairs": 0})
    for name in NETWORKS:
        config[name].update({"steps": 12, "log_every": 1, "checkpoint_every": 3, "picture_every": 0, "heldout": 0})
    config.sample.update({"num": 2, "frames": 16, "long_frames": 24, "steps": 2})
    return config


class Trigger:
    """Counts events, writes them down, and kills this process a while after the one that was chosen.

    Args:
        path: a file that gets a line for every event.
        phase: in which to kill; None for never. Events of later phases count as well: the phase may be over already.
        events: which one of those is the last.
        delay: seconds from there.
    """

    def __init__(self, path, phase=None, events=0, delay=0.0):
        self.file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.phase, self.left, self.delay, self.where = phase, events, delay, "puppets"

    def event(self, kind, text=""):
        os.write(self.file, f"{self.where} {kind} {text}\n".encode())
        names = list(PHASES)
        now = [i for i, name in enumerate(names) if name.split()[0] == self.where and PHASES[name][0] == kind]
        if self.phase is None or not now or now[0] < names.index(self.phase):
            return
        self.left -= 1
        if self.left == 0:
            threading.Thread(target=self._kill, daemon=True).start()

    def _kill(self):
        time.sleep(self.delay)
        os.write(self.file, f"killed {self.where}\n".encode())
        os.killpg(0, signal.SIGKILL)


def watch(trigger):
    """Reports what this process does to the trigger."""

    def before(owner, name, report):
        inner = getattr(owner, name)

        def outer(*arguments, **named):
            report(*arguments, **named)
            return inner(*arguments, **named)

        setattr(owner, name, outer)

    def stage(config, workdir, stages, name, mesh, **_):
        trigger.where = "denoiser" if name in NETWORKS else {"sample": "sampling"}.get(name, name)

    before(experiment.stages, "run_stage", stage)
    before(pipeline.Batches, "__next__", lambda self: trigger.event("step"))
    before(Checkpoints, "_save", lambda self, step, *rest: trigger.event("save", step))
    before(writing, "pack", lambda record: trigger.event("record"))
    before(video.VideoWriter, "write", lambda self, frame: trigger.event("frame"))


def child(folder, cache, kill, log, short):
    """One start of the run, in a process that ends here."""
    os.setpgid(0, 0)
    output = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A process that is killed while it writes into the cache would leave half an entry there: JAX's risk, not ours.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0 if kill is None else 1e9)
    code = 1
    try:
        watch(Trigger(folder / "events", *(kill or ())))
        experiment.run(config_of(folder, short), folder / "run")
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start(folder, cache, kill=None, short=False):
    """Runs until it ends or is killed: (exit code as subprocess gives it, what it printed)."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    begin = log.stat().st_size if log.exists() else 0
    sys.stdout.flush()
    process = os.fork()
    if not process:
        child(folder, cache, kill, log, short)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, log.read_bytes()[begin:].decode(errors="replace")


@dataclasses.dataclass
class Report:
    """What happened: kills in each phase, steps that were made again after each, seconds for each start."""

    kills: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    lost: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    leftovers: int = 0  # starts that found something a killed process had been writing


def planned(count, seed, phases):
    """(phase, events, delay) of each kill, in the order of the run, spread evenly over the phases."""
    rng = random.Random(seed)
    chosen = sorted((list(phases)[i % len(phases)] for i in range(count)), key=list(PHASES).index)
    most = {"record": 5, "step": 6, "save": 2, "frame": 30}
    return [(phase, rng.randint(1, most[PHASES[phase][0]]), rng.uniform(0, PHASES[phase][1])) for phase in chosen]


def torture(folder, cache, count, seed, short=False, say=print):
    """Runs with `count` kills to the end. Raises AssertionError if a start ends in any other way than by its kill."""
    report, events = Report(), folder / "events"
    for kill in [*planned(count, seed, SHORT if short else tuple(PHASES)), None]:
        report.leftovers += bool(leftovers(folder))
        read = events.stat().st_size if events.exists() else 0
        began = time.monotonic()
        code, output = start(folder, cache, kill, short)
        report.seconds.append(time.monotonic() - began)
        lines = events.read_text()[read:].splitlines()
        if code == 0:
            if kill is not None:
                say(f"the run was finished before its kill in phase {kill[0]}")
            break
        assert code == -signal.SIGKILL, (
            f"a start after {sum(report.kills.values())} kills ended with {code}:\n{output[-4000:]}"
        )
        report.kills[kind_of(lines)] += 1
        say(f"killed: {lines[-2] if len(lines) > 1 else 'at once'}, {report.seconds[-1]:.1f} s")
    report.lost = lost_steps((folder / "log").read_text())
    return report


def kind_of(lines):
    """The phase in which a process was killed, from its last event before that."""
    where, kind, *_ = (lines[-2] if len(lines) > 1 else "puppets record").split()
    return next(name for name, (awaited, _) in PHASES.items() if name.split()[0] == where and awaited == kind)


def lost_steps(log):
    """Steps that each training begun again had gone beyond where it went on from, by the rows it had printed."""
    lost, done, stage, again = [], {}, "", False
    for line in log.splitlines():
        if found := re.match(r"(\w+): /", line):
            stage = found[1]
            again = stage in done
        elif found := re.match(r"step (\d+)/\d+ ", line):
            step = int(found[1])
            lost += [done[stage] + 1 - step] if again else []
            done[stage], again = step, False
    return lost


def leftovers(folder):
    """Files that a killed process was writing."""
    temporary = lambda name: files._TEMPORARY.fullmatch(name) or "orbax-checkpoint-tmp" in name or ".partial" in name
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if temporary(path.name))


def differences(one, other):
    """What differs between two finished runs, as text; empty if all bits agree."""
    found = []
    trained = [name for name in ("animator", *NETWORKS) if (one / "run" / name).exists()]
    for stage in trained:
        a, b = (weights.load_tree(folder / "run" / stage / f"{stage}.npz") for folder in (one, other))
        same = jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b)
        found += [f"{stage}: parameters"] if not all(jax.tree.leaves(same)) else []
        rows = [
            [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(folder / "run" / stage / METRICS)]
            for folder in (one, other)
        ]
        found += [f"{stage}: metrics"] if rows[0] != rows[1] else []
        for folder in (one, other):
            with Checkpoints(folder / "run" / stage / "checkpoints", read_only=True) as checkpoints:
                found += [f"{stage}: checkpoints {checkpoints.steps()}"] if len(checkpoints.steps()) < 2 else []
    for data in ("data", "data-codes", "run/codes"):
        if manifest.load(one / data) != manifest.load(other / data):
            found.append(f"{data}: shards")
    for folder in (one, other):
        for shards in ("data", "data-codes", "run/codes"):
            splits = manifest.load(folder / shards).splits.values()
            wrong = [
                s.file for split in splits for s in split.shards if files.sha256(folder / shards / s.file) != s.sha256
            ]
            found += [f"{folder / shards}: {wrong}"] if wrong else []
    names = [sorted(p.name for p in (folder / "run" / "sample").glob("*")) for folder in (one, other)]
    found += [f"samples: {names}"] if names[0] != names[1] else []
    for name in names[0]:
        a, b = (folder / "run" / "sample" / name for folder in (one, other))
        if name.endswith(".mp4"):
            same = all(map(np.array_equal, video.read_frames(a), video.read_frames(b)))
        elif name.endswith(".codes.npz"):
            left, right = np.load(a), np.load(b)
            same = left.files == right.files and all(np.array_equal(left[k], right[k]) for k in left.files)
        else:
            same = name in ("config.json", "done.json") or a.read_bytes() == b.read_bytes()
        found += [] if same else [f"sample/{name}"]
    return found


def main(out, count, seed, short=""):
    os.environ.setdefault("XLA_FLAGS", FLAGS)
    out = pathlib.Path(out).resolve()
    cache = out / "cache"
    code, output = start(out / "undisturbed", cache, short=bool(short))
    assert code == 0, output[-4000:]
    report = torture(out / "killed", cache, int(count), int(seed), bool(short))
    found = differences(out / "undisturbed", out / "killed")
    left = leftovers(out / "killed")
    print(json.dumps({"kills": sum(report.kills.values()), "by phase": dict(report.kills), "steps made again": report.lost,
                      "starts that found leftovers": report.leftovers, "leftovers at the end": left,
                      "median seconds a start": float(np.median(report.seconds)), "differences": found}, indent=1))  # fmt: skip
    sys.exit(bool(found or left))


if __name__ == "__main__":
    main(*sys.argv[1:])
