"""What the accelerators' forms of `leo_jax/ops` bring: a training step compiled with them, and with the CPU's in their place.

    python benchmarks/tpu_forms.py [--stage animator] [--topology v5e-8] [--per_device 8] [--out DIR] [-- --config.…=…]

Nothing is run: both programs are compiled for a slice that is not here, by `launch/aot.py`'s own code in a process of its own
(`pip install -e '.[aot]'`). The table says what each needs and what bounds it. Some ten minutes for each at full size.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
ROWS = {"the CPU's forms": True, "each platform's": False}


def child(cpu_forms: bool, arguments: list[str]) -> None:
    """`launch/aot.py` in this process; with `cpu_forms` every platform gets the form of the CPU, or the default."""
    from leo_jax.aot import ENVIRONMENT, command

    os.environ.update(ENVIRONMENT)
    if cpu_forms:
        from leo_jax.ops import platforms

        choose = platforms.by_platform
        # Before the modules that take it are imported.
        platforms.by_platform = lambda default, **forms: choose(forms.get("cpu", default))
    command.start(["launch/aot.py", *arguments])


def compiled(cpu_forms: bool, arguments: list[str]) -> Mapping[str, Any]:
    """What `launch/aot.py --out` says of the one program."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "found.json"
        command = [sys.executable, __file__, "--child", str(int(cpu_forms)), "--", *arguments, f"--out={out}"]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": _path()})
        return json.loads(out.read_text())[0]


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def row(name: str, found: Mapping[str, Any]) -> str:
    """One line of the table."""
    seconds = found["seconds"]
    times = " / ".join(f"{1e3 * seconds[kind]:.3g}" for kind in ("flops", "bytes", "links"))
    return (
        f"| {name} | {found['memory']['total'] / 1e9:.2f} | {found['flops'] / 1e12:.3g} | {found['bytes'] / 1e9:.3g} | {times} "
        f"| {100 * found['mfu_bound']:.0f} % | {found['processor_seconds']:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(ROOT / "configs" / "taichi.py"))
    parser.add_argument("--stage", default="animator")
    parser.add_argument("--topology", default="v5e-8", help="one slice")
    parser.add_argument("--per_device", type=int, default=8)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--out", type=pathlib.Path, help="folder for both results as JSON")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="more flags of launch/aot.py, after --")
    options = parser.parse_args()
    if options.child is not None:
        child(bool(options.child), options.flags)
        return
    arguments = [
        f"--config={options.config}",
        f"--stage={options.stage}",
        f"--topology={options.topology}",
        f"--per_device={options.per_device}",
        f"--config.model.dtype={options.dtype}",
        *options.flags,
    ]
    rows = []
    for name, cpu_forms in ROWS.items():
        found = compiled(cpu_forms, arguments)
        rows.append(row(name, found))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{'cpu' if cpu_forms else 'own'}.json").write_text(json.dumps(found, indent=1) + "\n")
    head = (
        "forms",
        "memory of a chip, GB",
        "TFLOP",
        "GB moved",
        "ms: FLOPs / bytes / links",
        "MFU at most",
        "compiler",
    )
    print(f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *rows, sep="\n")


if __name__ == "__main__":
    main()
