"""Worker processes end with the process that they work for."""

import functools
import multiprocessing
import os
import threading


@functools.cache
def end_with_parent() -> None:
    """To be called in a worker process: it ends as soon as its parent does, however that may be.

    A parent that is killed cannot end its workers, and what they wait at for more work never closes: each holds both ends.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_outlast, args=(parent,), daemon=True, name="end with parent").start()


def _outlast(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
