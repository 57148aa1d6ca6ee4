"""Does a long training grow? Memory, file descriptors and threads of one process that saves every minute.

    python benchmarks/soak.py --minutes 120 --out runs/soak

Trains the puppets' animator by `python -m leo_jax.main`, first for a while to see how many steps a minute has, then on from there
with a checkpoint, its held-out measurement and a picture every minute. Every few seconds /proc is read; OUT/soak.csv has the
rows, and the table that is printed, OUT/soak.md, what a straight line through those after the warm-up says.
"""

import argparse
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from leo_jax import files
from leo_jax.training.logging import METRICS, read_rows

ROOT = pathlib.Path(__file__).parents[1]
COLUMNS = ("seconds", "rss_mib", "fds", "threads", "checkpoints", "step")
NAMES = {"rss_mib": "memory (RSS), MiB", "fds": "file descriptors", "threads": "threads"}
ENDLESS = 10**9  # steps
TRIAL = 50  # steps after which the rate is taken


def command(out: pathlib.Path, every: int, flags: Sequence[str]) -> list[str]:
    """The training, with a checkpoint and a picture `every` steps; `flags` take the place of those of their names."""
    section = {"steps": ENDLESS, "log_every": 10, "checkpoint_every": every, "picture_every": every}
    ours: dict[str, object] = {
        "--config": ROOT / "configs" / "puppets.py",
        "--config.data.dir": out / "data",
        "--workdir": out / "run",
    }
    ours.update({f"--config.animator.{name}": value for name, value in section.items()})
    # The order stays: --config comes before its fields.
    ours.update({name: value for name, _, value in (flag.partition("=") for flag in flags)})
    return [
        sys.executable,
        "-m",
        "leo_jax.main",
        "--stages=animator",
        *(f"{name}={value}" for name, value in ours.items()),
    ]


def last_row(out: pathlib.Path) -> Mapping[str, float]:
    """The latest row of the training's metrics, empty if there is none."""
    rows = [row for row in read_rows(out / "run" / "animator" / METRICS) if row.get("images_per_second")]
    return rows[-1] if rows else {}


def saved(out: pathlib.Path) -> set[str]:
    """Names of the checkpoints that are there."""
    return {path.name for path in (out / "run" / "animator" / "checkpoints").glob("*") if path.name.isdigit()}


def look(process: int) -> dict[str, float]:
    """What /proc says of a process."""
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines())
    number = lambda name: int(status[name].split()[0])
    return {
        "rss_mib": number("VmRSS") / 1024,
        "fds": len(os.listdir(f"/proc/{process}/fd")),
        "threads": number("Threads"),
    }


def run(arguments: Sequence[str], log: pathlib.Path, until: Callable[[int], bool], seconds: float) -> None:
    """Starts the training and tells it to stop when `until`, asked every few `seconds` with its number, says so."""
    with open(log, "a") as output:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None and not until(process.pid):
                time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            process.wait(600)
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the training ended with {process.returncode}, see {log}")


def slope(hours: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares: (change an hour, its standard error as if the rows were independent)."""
    centred = hours - hours.mean()
    rate = centred @ values / (centred @ centred)
    left = values - values.mean() - rate * centred
    return float(rate), float(np.sqrt(left @ left / max(len(values) - 2, 1) / (centred @ centred)))


def table(rows: Sequence[Mapping[str, float]], warmup: float) -> str:
    """Markdown: each quantity at the start, the end, its range, and its slope after `warmup` seconds."""
    kept = [row for row in rows if row["seconds"] >= warmup] or list(rows)
    hours = np.asarray([row["seconds"] for row in kept]) / 3600
    lines = ["| | first | last | least | most | an hour |", "| --- | --- | --- | --- | --- | --- |"]
    for name, title in NAMES.items():
        values = np.asarray([row[name] for row in kept], float)
        rate, error = slope(hours, values) if len(kept) > 2 else (float("nan"), float("nan"))
        lines.append(
            f"| {title} | {values[0]:.0f} | {values[-1]:.0f} | {values.min():.0f} | {values.max():.0f} "
            f"| {rate:+.2f} ± {error:.2f} |"
        )
    minutes = (rows[-1]["seconds"] - rows[0]["seconds"]) / 60
    made, steps = (rows[-1][name] - rows[0][name] for name in ("checkpoints", "step"))
    return (
        f"{minutes:.0f} minutes, {steps:.0f} steps, {made:.0f} checkpoints; rows from {warmup / 60:g} minutes on:\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120, help="of the measured part")
    parser.add_argument("--warmup", type=float, default=None, help="minutes left out of the line; a tenth if not given")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/soak"))
    parser.add_argument("--interval", type=float, default=5, help="seconds between two rows")
    parser.add_argument("flags", nargs="*", help="more flags of leo_jax.main, after --")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    trial = last_row(out).get("step", 0) + TRIAL  # OUT/run may hold a training that goes on
    run(command(out, ENDLESS, options.flags), out / "log", lambda process: last_row(out).get("step", 0) >= trial, 1.0)
    batch = json.loads((out / "run" / "animator" / "config.json").read_text())["data"]["batch_size"]
    rate = last_row(out)["images_per_second"]
    every = max(round(rate / batch * 60), 1)
    print(f"{rate / batch:.2f} steps a second: a checkpoint every {every} steps", flush=True)

    rows: list[dict[str, float]] = []
    seen: set[str] = set()
    begin: list[float] = []  # when the first step of this start was done

    def watch(process: int) -> bool:
        seen.update(saved(out))
        step = last_row(out).get("step", 0)
        if not begin:
            if step > first:
                begin.append(time.monotonic())
            return False
        seconds = time.monotonic() - begin[0]
        rows.append({"seconds": round(seconds, 1), **look(process), "checkpoints": len(seen), "step": step})
        return seconds > options.minutes * 60

    first = last_row(out)["step"]
    run(command(out, every, options.flags), out / "log", watch, options.interval)
    with files.atomic_path(out / "soak.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    warmup = 60 * (options.warmup if options.warmup is not None else options.minutes / 10)
    files.atomic_write(out / "soak.md", text := table(rows, warmup))
    print(text)


if __name__ == "__main__":
    main()
