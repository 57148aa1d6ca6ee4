"""Ctrl-C between two frames instead of in the midst of one."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from leo_jax.sampling.videos import Moment


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """In the body the first Ctrl-C is only noted, and the function given says so; a second one interrupts at once.

    Outside of the main thread, where no signal arrives, nothing is changed.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def until(moments: Iterator[Moment], stopped: Callable[[], bool], *, wanted: bool) -> Iterator[Moment]:
    """`moments` until `stopped()`: then it ends, if that is how it is `wanted` to end, or raises KeyboardInterrupt."""
    for moment in moments:
        yield moment
        if stopped():
            if wanted:
                return
            raise KeyboardInterrupt
