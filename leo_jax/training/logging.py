"""What a person sees of a run: a live line, metrics.jsonl, TensorBoard events, pictures. Only process 0 writes."""

import contextlib
import datetime
import io
import json
import math
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from leo_jax.files import atomic_path, atomic_write
from leo_jax.training.events import Events

INPUT_BOUND = 0.1  # share of the time spent waiting for input from which on the live line says so
METRICS, PICTURES, EVENTS = "metrics.jsonl", "pictures", "tensorboard"


class RunLog:
    """The log of one run in `workdir`, going on after `step` finished steps.

    Rows of metrics.jsonl after `step`, left by a process that was killed past its last checkpoint, are dropped: the
    resumed run writes them again. TensorBoard is told to hide its events of the same steps.

    Args:
        workdir: the run's folder.
        step: finished steps at which the run goes on; 0 for a new one.
        steps: where it will end.
        active: False on every process but the first; then nothing is written or printed.
        stream: where the live line goes; a bar when it is a terminal, else a plain line per row.
    """

    def __init__(
        self, workdir: pathlib.Path, *, step: int, steps: int, active: bool = True, stream: io.TextIOBase | None = None
    ):
        self.workdir, self.steps, self.active = workdir, steps, active
        self._stream: Any = sys.stdout if stream is None else stream
        if not active:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        truncate(workdir / METRICS, step)
        self._metrics = open(workdir / METRICS, "a")
        self._events = Events(workdir / EVENTS, step)
        self._bar = None
        if self._stream.isatty():
            shape = "{percentage:3.0f}% {bar:20} {n}/{total} {desc} ETA {remaining}"
            self._bar = tqdm(total=steps, initial=step, file=self._stream, bar_format=shape, mininterval=0.5)

    def tick(self) -> None:
        """One more step was sent to the devices."""
        if self.active and self._bar is not None:
            self._bar.update(1)

    def row(
        self,
        step: int,
        means: Mapping[str, float],
        images_per_second: float,
        steps_per_second: float,
        input_wait: float = 0.0,
        process: int = 0,
    ) -> None:
        """Writes the metrics of the steps up to `step`, and shows those without a slash, the rate and the time left.

        `input_wait` is the share of the time in which devices stood still for want of a batch of `process`; the line speaks
        of it when it is large.
        """
        if not self.active:
            return
        self._write(
            step, {**means, "images_per_second": round(images_per_second, 3), "input_wait": round(input_wait, 3)}
        )
        names = sorted((name for name in means if "/" not in name), key=lambda name: (name != "loss", name))
        text = " · ".join(f"{name} {means[name]:.4g}" for name in names)
        text += f" · {images_per_second:.1f} images/s" if images_per_second else ""
        if input_wait > INPUT_BOUND:
            whose = f" of process {process}" if process else ""
            text += f" · {input_wait:.0%} of the time waits for input{whose}: data.workers"
        if self._bar is not None:
            self._bar.set_description_str(text)
            return
        seconds = (self.steps - step) / steps_per_second if steps_per_second else 0
        left = f" · ETA {datetime.timedelta(seconds=math.ceil(seconds))}" if seconds else ""
        self.say(f"step {step}/{self.steps} · {text}{left}")

    def results(self, step: int, results: Mapping[str, float]) -> None:
        """Writes and shows what the evaluation at `step` measured."""
        if self.active and results:
            self._write(step, results)
            self.say(f"step {step} · " + " · ".join(f"{name} {value:.4g}" for name, value in results.items()))

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        """Writes a uint8 (height, width, 3) sheet as pictures/<step>.png and as a TensorBoard image."""
        if not self.active:
            return
        with atomic_path(self.workdir / PICTURES / f"{step:08d}.png") as path:
            Image.fromarray(sheet).save(path)
        self._events.picture(step, name, sheet)

    def say(self, text: str) -> None:
        """One line for the person, above the bar when there is one."""
        if not self.active:
            return
        if self._bar is not None:
            tqdm.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        """A row of metrics.jsonl, flushed so that a kill cannot lose it, and TensorBoard scalars."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._metrics.write(json.dumps({"step": step, **numbers}) + "\n")
            self._metrics.flush()
            self._events.scalars(step, values)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.workdir / METRICS} or {EVENTS} beside it cannot be written ({error.strerror}): make room, and the same "
                "command goes on from the last checkpoint",
            ) from error

    def close(self) -> None:
        """Ends the bar and closes the files."""
        if not self.active:
            return
        if self._bar is not None:
            self._bar.close()
        self._metrics.close()
        self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # On a full disk the last flush fails too: it must not hide what ended the run.
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self.close()


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off by a kill is left out."""
    lines = path.read_text().split("\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1] if line]  # what follows the last newline was never finished


def truncate(path: pathlib.Path, step: int) -> None:
    """Drops the rows of a metrics.jsonl that come after `step`."""
    if path.exists():
        kept = [row for row in read_rows(path) if row["step"] <= step]
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in kept))
