"""TensorBoard's event files, written where the numbers are given: an error is raised there, as of any other file.

`tensorboardX.SummaryWriter` writes in a thread instead. A full disk ends that thread, unseen, and the training waits for
ever for room in its queue.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

FLUSH = 60.0  # seconds after which what was written is seen by others


class Events:
    """One more event file in `folder`. TensorBoard is told to hide earlier events of steps after `step`, if that is not 0."""

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))
        self._flushed = 0.0
        if step:
            self._add(step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers."""
        for name, value in values.items():
            self._add(step, summary=summary.scalar(name, value))

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        """Adds a uint8 (height, width, 3) picture."""
        self._add(step, summary=summary.image(name, sheet, dataformats="HWC"))

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.write_event(Event(step=step, wall_time=time.time(), **content))
        if time.monotonic() - self._flushed > FLUSH:
            self._writer.flush()
            self._flushed = time.monotonic()
