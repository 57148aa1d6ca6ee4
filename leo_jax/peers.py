"""The run's other processes while it goes: whether they live, and whether one of them was told to stop.

Each process writes once a second that it lives into the key-value store that JAX keeps in the first process. The first one
reads what all wrote and publishes what concerns all; so the others read two keys, however many they are. A process that is
alone has no peers: `told()` is False there.
"""

import _thread
import atexit
import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol, runtime_checkable

PEER_DIED = 76  # the exit code of processes that end because another one died, and not by an error
PULSE = 1.0  # seconds between signs of life
LINGER = 2 * PULSE  # that a process stays after an error of its own, for the first one to hear of it
FAREWELL = 5 * PULSE  # that the first one then stays, for the others to hear why they end: JAX ends them with it
PARTING = 300 * PULSE  # that the first one waits at its end for others that still work
STILL = 5 * PULSE  # between two looks at the others, from which on this process itself stood still
_ALIVE, _NEWS, _STOP, _MEETING = "leo/alive/", "leo/news", "leo/stop/", "leo/meeting/"
_WEEK = 7 * 24 * 3600 * 1000  # milliseconds that one process may work while the others wait
_SILENT: Mapping[str, Any] = dict(
    pulse=0, told=False, failed="", ended=False, input_wait=0.0, host="it has never spoken"
)

WAY_OUT = "the same command goes on from the last checkpoint, with these processes or with others"


class Interrupted(BaseException):
    """Work that one process does is broken off, because the run was told to stop; files stay whole.

    It can come anywhere in that work, as KeyboardInterrupt does, and is no Exception for the same reason.
    """


@runtime_checkable
class Store(Protocol):
    """What is used of JAX's distributed client."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        """Writes a value."""

    def key_value_try_get(self, key: str) -> str:
        """Reads a value; raises where there is none."""

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        """All keys that begin so, and their values."""

    def wait_at_barrier(self, barrier_id: str, timeout_in_ms: int) -> None:
        """Waits for all processes."""


def news_of(
    alive: Mapping[int, Mapping[str, Any]], silent: Mapping[int, float], count: int, patience: float
) -> dict[str, Any]:
    """What all have to know: {'told': whether to stop, 'end': why everybody has to end, or '', 'code': with which exit code}.

    Args:
        alive: what each process wrote last.
        silent: seconds since its last sign of life changed.
        count: processes of the run.
        patience: seconds of silence after which a process is taken for dead.
    """
    failed = [f"process {i} ended with {a['failed']}" for i, a in sorted(alive.items()) if a["failed"]]
    dead = [i for i, seconds in sorted(silent.items()) if seconds > patience and not alive[i]["ended"]]
    gone = [
        f"process {i} of {count} ({alive[i]['host']}) has given no sign of life for {patience:g} s: it was killed, or its "
        "host is down, hangs or is cut off"
        for i in dead
    ]
    told, code = any(a["told"] for a in alive.values()), PEER_DIED if gone and not failed else 1
    return {"told": told, "end": "; ".join(failed or gone), "code": code}


def may_be_anothers(error: BaseException | None) -> bool:
    """Whether an error, or what it came of, may only be what the death of another process looks like: a broken connection."""
    while error is not None:
        runtime = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
        if runtime and not any(own in str(error) for own in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")):
            return True
        error = error.__cause__ or error.__context__
    return False


class Peers:
    """This process's part of the watch, in two threads; a context manager around all that it does in the run.

    SIGTERM and Ctrl-C, however many, are only noted and made known to all (`told`). When another process dies or ends with an
    error, this one says so and ends with code PEER_DIED or 1: it may be waiting for the other in a computation that nothing can
    interrupt. When the body raises, the others are told why, and this process ends without waiting for them.

    Args:
        store: JAX's distributed client.
        index: of this process.
        count: of processes.
        patience: seconds of silence after which another one is taken for dead.
    """

    def __init__(self, store: Store, index: int, count: int, patience: float) -> None:
        self.index, self.count, self.patience = index, count, patience
        self._store = store
        self._own: dict[str, Any] = {**_SILENT, "host": f"{socket.gethostname()}, pid {os.getpid()}"}
        self._told, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._left = threading.Event()  # in the first process: all others have ended
        self._alone = False
        self._heard = self._looked = time.monotonic()  # when the store answered, and when the others were looked at
        self._changed = dict.fromkeys(
            range(count), (0, self._heard)
        )  # pulse of each process, and when it was first seen
        self._waits: dict[int, float] = {}  # the share of time for which each process waits for its input
        self._stop_steps: dict[int, int] = {}
        self._meetings = 0

    def start(self) -> "Peers":
        """Takes over the signals (in the main thread) and begins the watch."""
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._note)
        self._watching = threading.Thread(target=self._watch, daemon=True, name="peers")
        self._watching.start()
        threading.Thread(target=self._guard, daemon=True, name="peers' guard").start()
        atexit.register(self.part)  # before JAX's own, which was registered when it was imported
        return self

    def told(self) -> bool:
        """Whether this or any other process was told to stop."""
        return self._told.is_set()

    def hungriest(self, input_wait: float) -> tuple[float, int]:
        """Tells for which share of the time this process waits for its input; the largest share of any, and whose it is.

        The first process alone knows of the others; theirs are those that they told last, up to a second ago.
        """
        self._own["input_wait"] = input_wait
        waits = {**self._waits, self.index: input_wait}
        worst = max(waits, key=lambda i: waits[i])
        return waits[worst], worst

    def stops_at(self, training: int, step: int, ahead: int) -> bool:
        """Whether to stop after `step` finished steps: the same answer on all processes, which must all ask at each step.

        The first process chooses the step, `ahead` after its own; no other one may be that far ahead of it.
        """
        if training not in self._stop_steps:
            key = f"{_STOP}{training}"
            if self.index == 0 and self.told():
                self._stop_steps[training] = step + ahead
                self._store.key_value_set(key, str(step + ahead))
            elif self.index:
                chosen = self._read(key)
                if chosen is not None:
                    self._stop_steps[training] = int(chosen)
        return step >= self._stop_steps.get(training, step + 1)

    def meet(self, what: str) -> bool:
        """Waits for all processes, however long one works; whether any of them was told to stop: the same on all.

        It does not use the devices, whose connections give up after half a minute on CPUs, and which would turn meanwhile.

        Raises:
            RuntimeError: another one is at another place than `what`.
        """
        return any(self.gather(what, self.told()))

    def gather(self, what: str, value: Any) -> list[Any]:
        """What each process says of `what`, by its number, as JSON; waits for all and raises as `meet` does."""
        self._meetings += 1
        place = f"{_MEETING}{self._meetings}/"
        self._store.key_value_set(f"{place}{self.index}", json.dumps([what, value]))
        self._store.wait_at_barrier(place, _WEEK)
        said = {int(key.rsplit("/", 1)[1]): json.loads(text) for key, text in self._store.key_value_dir_get(place)}
        if elsewhere := sorted({name for name, _ in said.values() if name != what}):
            raise RuntimeError(
                f"the processes are at different places, this one at {what!r}, others at {', '.join(map(repr, elsewhere))}: "
                "start all with the same flags"
            )
        return [said[i][1] for i in sorted(said)]

    def alone(self, work: Callable[[], Any]) -> None:
        """Does `work` while the others wait; it is broken off where it is when any of them is told to stop."""
        self._alone = True
        try:
            if self.told():
                raise Interrupted
            work()
        except Interrupted:
            pass
        finally:
            self._alone = False

    def close(self) -> None:
        """Says goodbye: this process ends, and all is well."""
        if not self._closing.is_set():
            self._own["ended"] = True
            self._closing.set()
            with contextlib.suppress(Exception):
                self._say()

    def part(self) -> None:
        """Ends the watch, at the end of the process: Python aborts if it ends while a thread is in a call of the store.

        The others hear through the first process, so that it watches on until they have ended or give no sign of life.
        """
        self.close()
        end = time.monotonic() + PARTING
        while self.index == 0 and self._watching.is_alive() and time.monotonic() < end and not self._left.wait(PULSE):
            pass
        self._over.set()
        with contextlib.suppress(BlockingIOError):  # full of signals, which wake it as well
            self._writing.send(b"\0")
        self._watching.join(self.patience)

    def __enter__(self) -> "Peers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and isinstance(error.code, int | None)):
            self.close()
            return
        if isinstance(error, SystemExit):
            print(error.code, file=sys.stderr, flush=True)
        else:
            traceback.print_exception(kind, error, trace)
        if may_be_anothers(error):
            sys.stderr.flush()
            time.sleep(self.patience + 2 * PULSE)  # if another one died, the watch says which, and ends this process
        self._closing.set()
        told = str(error.code if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}")
        self._own["failed"] = told.splitlines()[0] if told else "an error"
        with contextlib.suppress(Exception):
            self._say()
        time.sleep(LINGER if self.index else FAREWELL)  # the watch, which may be writing something older, repeats it
        _leave()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told.set()
        if self._alone:
            self._alone = False
            raise Interrupted

    def _watch(self) -> None:
        """Pulses, and at once when a signal comes: the main thread may be waiting where it cannot take it."""
        while True:
            if select.select([self._reading], [], [], PULSE)[0]:
                numbers = self._reading.recv(64)
                if self._over.is_set():
                    return
                if {signal.SIGTERM, signal.SIGINT} & set(numbers):
                    self._own["told"] = True
                    self._told.set()
            with contextlib.suppress(Exception):  # the guard counts the time without an answer
                self._say()
                news = self._news()
                self._heard = time.monotonic()
                if news["end"] and not self._closing.is_set():
                    _end(news["end"], FAREWELL if self._is_heard() else 0.0, news["code"])
                if news["told"] and not self.told():
                    self._told.set()
                    if self._alone:
                        _thread.interrupt_main(signal.SIGTERM)  # as if it had come here

    def _say(self) -> None:
        self._own["pulse"] += 1
        self._store.key_value_set(f"{_ALIVE}{self.index}", json.dumps(self._own), allow_overwrite=True)

    def _read(self, key: str) -> str | None:
        """What stands there; None if nothing does."""
        try:
            return self._store.key_value_try_get(key)
        except Exception as error:
            if "NOT_FOUND" in str(error):
                return None
            raise

    def _news(self) -> dict[str, Any]:
        if self.index:
            published = self._read(_NEWS)  # nothing, until the first process begins its watch
            return json.loads(published) if published is not None else news_of({}, {}, self.count, self.patience)
        now = time.monotonic()
        still = now - self._looked
        if still > STILL:  # it does not count: the others may have stood still too, or could not be heard
            self._changed = {i: (pulse, seen + still) for i, (pulse, seen) in self._changed.items()}
        self._looked = now
        alive: dict[int, Mapping[str, Any]] = dict.fromkeys(range(self.count), _SILENT)
        for key, value in self._store.key_value_dir_get(_ALIVE):
            i, said = int(key.rsplit("/", 1)[1]), json.loads(value)
            alive[i], self._waits[i] = said, said["input_wait"]
            if self._changed[i][0] != said["pulse"]:
                self._changed[i] = said["pulse"], now
        silent = {i: now - seen for i, (_, seen) in self._changed.items()}
        news = news_of(alive, silent, self.count, self.patience)
        if all(i == 0 or a["ended"] or a["failed"] or silent[i] > self.patience for i, a in alive.items()):
            self._left.set()
        self._store.key_value_set(_NEWS, json.dumps(news), allow_overwrite=True)
        return news

    def _is_heard(self) -> bool:
        """Whether others live that read what this process publishes: the first one, while any other does."""
        now = time.monotonic()
        return self.index == 0 and any(i and now - seen <= self.patience for i, (_, seen) in self._changed.items())

    def _guard(self) -> None:
        """Ends this process when the first one, which keeps the store, does not answer; JAX ends it when that one is gone."""
        awake = time.monotonic()
        while not self._closing.is_set():
            time.sleep(PULSE)
            now = time.monotonic()
            if now - awake > STILL:  # this process itself stood still
                self._heard = now
            awake = now
            if now - self._heard > self.patience and not self._closing.is_set():
                why = f"process 0 of {self.count} has not answered for {self.patience:g} s: its host is down, hangs or is cut off"
                _end(why, code=PEER_DIED)


_PEERS: Peers | None = None


def join(patience: float) -> Peers:
    """Begins the watch over the processes that `jax.distributed.initialize` has brought together; before devices are used."""
    global _PEERS
    from jax._src import distributed  # JAX's public modules, as Orbax, have its key-value store from there

    state: Any = distributed.global_state
    _PEERS = Peers(state.client, state.process_id, state.num_processes, patience).start()
    return _PEERS


def current() -> Peers | None:
    """The watch of this process, None where it is alone."""
    return _PEERS


def told() -> bool:
    """Whether this or any other process of a run of several was told to stop."""
    return _PEERS is not None and _PEERS.told()


def hungriest(input_wait: float) -> tuple[float, int]:
    """(share of time, process) of that which waits longest for its input, of all processes: see `Peers.hungriest`."""
    return (input_wait, 0) if _PEERS is None else _PEERS.hungriest(input_wait)


def check() -> None:
    """Raises Interrupted if this or any other process of a run of several was told to stop."""
    if told():
        raise Interrupted


def alone(work: Callable[[], Any]) -> None:
    """Does what one process does while the others, if there are any, wait; see `Peers.alone`."""
    if _PEERS is None:
        work()
    else:
        _PEERS.alone(work)


def _end(why: str, linger: float = 0.0, code: int = 1) -> NoReturn:
    try:
        print(f"error: {why}. All have to end; {WAY_OUT}", file=sys.stderr, flush=True)
        time.sleep(linger)
    finally:  # also when nobody listens any more
        _leave(code)


def _leave(code: int = 1) -> NoReturn:
    """Ends at once: what a normal exit does would wait for the others."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
