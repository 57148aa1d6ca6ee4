"""Traces of chosen steps, for TensorBoard's profiler (`pip install xprof tensorboard`)."""

import contextlib
import pathlib
import re
from collections.abc import Callable

import jax

Range = tuple[int, int]


def parse_range(text: str) -> Range | None:
    """'10:20' → (10, 20), '' → None.

    Raises:
        ValueError: it is neither, or the range is empty.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError(f"profile = {text!r}: two numbers of finished steps, as in 10:20, the first one smaller")
    return int(match[1]), int(match[2])


class Tracing(contextlib.AbstractContextManager["Tracing"]):
    """Traces a run from when `start` steps are finished to when `stop` are, into FOLDER/plugins/profile.

    Only the first process traces, its host and its devices: the others do the same, and a pod's traces would be large.

    Args:
        steps: (start, stop), or None for no trace.
        folder: TensorBoard's of the run.
        active: False on every process but the first.
        say: takes a line for the person who waits.
    """

    def __init__(self, steps: Range | None, folder: pathlib.Path, *, active: bool, say: Callable[[str], None]):
        self._start, self._stop = steps if steps and active else (0, 0)
        self._folder, self._say = folder, say
        self._running = False

    def due(self, step: int) -> bool:
        """Whether `switch` has something to do when `step` steps are finished; then all of them are to be awaited."""
        return self._running if step >= self._stop else step >= self._start and not self._running

    def switch(self, step: int) -> None:
        """Begins or ends the trace."""
        if self._running:
            self._end()
            return
        jax.profiler.start_trace(self._folder)
        self._running = True
        self._say(f"tracing from step {step} to {self._stop}")

    def _end(self) -> None:
        self._running = False
        jax.profiler.stop_trace()
        self._say(f"the trace is in {self._folder}: tensorboard --logdir {self._folder}, tab PROFILE")

    def __exit__(self, *exception: object) -> None:
        """Ends a trace that the run's end cut short."""
        if self._running:
            self._end()
