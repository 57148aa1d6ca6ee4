"""Being told to stop: SIGTERM from a scheduler or a preempted machine, Ctrl-C from a person."""

import itertools
import os
import signal
import threading
from types import FrameType

from leo_jax import peers
from leo_jax.processes import preempted_exit
from leo_jax.training.meter import LAG

# The host reads the metrics of a step LAG steps late, and no step's are there before all processes have begun it: no process
# is further ahead of another than this.
AHEAD = LAG + 2
_NUMBERS = itertools.count()  # of trainings: all processes go through the same ones in the same order


class Preempted(SystemExit):
    """The run was told to stop and has saved; the same command goes on. Uncaught, it ends the process with `preempted_exit`.

    `step` is the saved one; None when it was not a training that was broken off.
    """

    def __init__(self, step: int | None = None):
        super().__init__(preempted_exit(os.environ))
        self.step = step


class Stop:
    """Inside `with Stop() as stop`, SIGTERM and Ctrl-C are only noted, in `asked`; a second Ctrl-C acts as usual.

    SIGTERM may come again, for schedulers, shells that pass it on and whole process groups repeat it, while a step is saved.

    With several processes a signal to any of them is one to all, and one step is picked for all (`leo_jax.peers`); `asked`
    stays False there.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handlers: dict[int, object] = {}
        self._number = next(_NUMBERS)

    def reached(self, step: int) -> bool:
        """Whether to stop after `step` finished steps; in a multi-process run every process must ask at every step."""
        others = peers.current()
        return self.asked if others is None else others.stops_at(self._number, step, AHEAD)

    def __enter__(self) -> "Stop":
        # Python lets only the main thread handle signals; with several processes `peers` has its own handler.
        if threading.current_thread() is threading.main_thread() and peers.current() is None:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if signal.SIGINT in self._handlers:
            signal.signal(signal.SIGINT, self._handlers.pop(signal.SIGINT))  # type: ignore[arg-type]

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._handlers = {}
