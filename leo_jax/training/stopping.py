"""Being told to stop: SIGTERM from a scheduler or a preempted machine, Ctrl-C from a person."""

import os
import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

from leo_jax.processes import preempted_exit


class Preempted(SystemExit):
    """The run was told to stop and has saved; the same command goes on. Uncaught, it ends the process with `preempted_exit`."""

    def __init__(self, step: int):
        super().__init__(preempted_exit(os.environ))
        self.step = step


class Stop:
    """Inside `with Stop() as stop`, a first SIGTERM or Ctrl-C is only noted; a second one acts as usual.

    With several processes, JAX's preemption service takes SIGTERM to any of them to all, and picks one step for all.
    """

    def __init__(self) -> None:
        self._asked = False
        self._handlers: dict[int, object] = {}

    def reached(self, step: int) -> bool:
        """Whether to stop after `step` finished steps; in a multi-process run every process must ask at every step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def __enter__(self) -> "Stop":
        # Python lets only the main thread handle signals; JAX's service has its own handler for several processes.
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._handlers = {}
