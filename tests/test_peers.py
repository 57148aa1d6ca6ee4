"""Processes hear of each other's end and of signals; here the store is a dict, in tests/survival they are real."""

import itertools
import json
import subprocess
import sys
import threading
import time

import pytest

from leo_jax import peers, processes
from leo_jax.peers import PEER_DIED, Peers, news_of


class Table(dict):
    """What JAX's key-value store does, for two processes."""

    def __init__(self):
        super().__init__()
        self._barrier = threading.Barrier(2)

    def wait_at_barrier(self, barrier_id, timeout_in_ms):
        self._barrier.wait(60)

    def key_value_set(self, key, value, allow_overwrite=False):
        if key in self and not allow_overwrite:
            raise ValueError("ALREADY_EXISTS")
        self[key] = value

    def key_value_try_get(self, key):
        if key not in self:
            raise KeyError("NOT_FOUND")
        return self[key]

    def key_value_dir_get(self, key):
        return [(name, value) for name, value in self.items() if name.startswith(key)]


def said(**changes):
    return {"pulse": 1, "told": False, "failed": "", "ended": False, "host": "here", **changes}


def test_silence_is_death_only_past_patience_and_without_goodbye():
    alive = {0: said(), 1: said(host="node7, pid 3"), 2: said(ended=True)}
    assert news_of(alive, {0: 0.1, 1: 59.0, 2: 500.0}, 3, 60.0) == {"told": False, "end": "", "code": 1}
    end = news_of(alive, {0: 0.1, 1: 61.0, 2: 500.0}, 3, 60.0)["end"]
    assert "process 1 of 3 (node7, pid 3)" in end and "60 s" in end and "process 2" not in end


def test_an_error_is_passed_on_and_explains_silence():
    alive = {0: said(), 1: said(failed="DamagedRecord: x.tfrecord, record 3"), 2: said()}
    end = news_of(alive, {0: 0.0, 1: 99.0, 2: 99.0}, 3, 60.0)["end"]
    assert end == "process 1 ended with DamagedRecord: x.tfrecord, record 3", "what was its effect is told instead"


@pytest.mark.parametrize("lead", [-3, 0, 3])
def test_all_stop_after_the_same_step(lead):
    """Whoever is ahead, as far as the loop lets it."""
    table = Table()
    first, other = (Peers(table, index, 2, 60.0) for index in range(2))
    first._told.set()
    stopped = {}
    for step in range(20, 40):
        for peer, here in sorted(((first, step), (other, step + lead)), key=lambda pair: -pair[1]):
            if peer not in stopped and peer.stops_at(0, here, 4):
                stopped[peer] = here
    assert stopped == {first: 24, other: 24}


def test_each_training_has_its_own_stop():
    first = Peers(Table(), 0, 2, 60.0)
    first._told.set()
    assert [first.stops_at(0, step, 2) for step in (7, 8, 9)] == [False, False, True]
    assert [first.stops_at(1, step, 2) for step in (0, 1, 2)] == [False, False, True]


def test_nobody_stops_untold():
    table = Table()
    both = [Peers(table, index, 2, 60.0) for index in range(2)]
    assert not any(peer.stops_at(0, step, 4) for step in range(50) for peer in both)


def test_a_store_that_fails_is_no_answer():
    """Going on then would leave the others alone in the step after the one they stop at."""

    class Failing(Table):
        def key_value_try_get(self, key):
            raise RuntimeError("UNAVAILABLE")

    with pytest.raises(RuntimeError, match="UNAVAILABLE"):
        Peers(Failing(), 1, 2, 60.0).stops_at(0, 5, 4)


def met(first, other):
    """What `meet` gave, or raised, in two processes."""
    results = {}

    def meet(peer, what):
        try:
            results[peer.index] = peer.meet(what)
        except RuntimeError as error:
            results[peer.index] = str(error)

    threads = [threading.Thread(target=meet, args=pair) for pair in (first, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("told", [None, 0, 1])
def test_all_hear_at_a_meeting_whether_any_was_told(told):
    table = Table()
    both = [Peers(table, index, 2, 60.0) for index in range(2)]
    assert met((both[0], "begin"), (both[1], "begin")) == {0: False, 1: False}
    if told is not None:
        both[told]._told.set()
    assert met((both[0], "end"), (both[1], "end")) == {0: told is not None, 1: told is not None}


def test_different_places_are_named():
    table = Table()
    found = met(*((Peers(table, index, 2, 60.0), what) for index, what in enumerate(("codes", "motion"))))
    assert "this one at 'codes', others at 'motion'" in found[0] and "at 'motion', others at 'codes'" in found[1]


def test_silence_while_nobody_listened_does_not_count(monkeypatch):
    """All of a machine's processes stood still together, or this one held up its own watch: nobody is dead of that."""
    table, clock = Table(), [100.0]
    monkeypatch.setattr(peers.time, "monotonic", lambda: clock[0])
    first, other = (Peers(table, index, 2, 60.0) for index in range(2))
    other._say()
    ends = []
    for seconds in (1, 1, 300, *(1,) * 57, 1, 1, 1):
        clock[0] += seconds
        first._say()
        ends.append(first._news()["end"])
    assert not any(ends[:-2]) and "process 1 of 2" in ends[-1], ends


def test_the_first_process_stays_for_those_who_hear_it(monkeypatch):
    """JAX ends the others with it; where the only other one is dead, nobody has to wait."""
    clock = [100.0]
    monkeypatch.setattr(peers.time, "monotonic", lambda: clock[0])
    table = Table()
    first, second, third = (Peers(table, i, 3, 60.0) for i in range(3))
    for silent in (1, 2):
        for _ in range(62):
            clock[0] += 1
            for peer in (first, second, third)[: 3 - silent]:
                peer._say()
            first._news()
        assert first._is_heard() == (silent == 1), f"{silent} of 3 are silent"
    assert not second._is_heard(), "only what the first one publishes is read"


def test_one_that_never_spoke_is_missed_too(monkeypatch):
    """It was killed between the meeting of all processes and its first sign of life."""
    clock = [100.0]
    monkeypatch.setattr(peers.time, "monotonic", lambda: clock[0])
    first, ends = Peers(Table(), 0, 2, 60.0), []
    for _ in range(62):
        clock[0] += 1
        first._say()
        ends.append(first._news()["end"])
    assert not any(ends[:60]) and "process 1 of 2 (it has never spoken)" in ends[-1], ends


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def watched(monkeypatch):
    """Two peers that watch each other in threads of this process; what they end with is collected instead."""
    ends = []

    def end(why, linger=0.0, code=1):
        ends.append((threading.current_thread(), why, code))
        raise SystemExit

    monkeypatch.setattr(peers, "_end", end)
    monkeypatch.setattr(peers, "PULSE", 0.05)
    monkeypatch.setattr(peers, "STILL", 0.25)
    monkeypatch.setattr(peers, "LINGER", 0.3)
    monkeypatch.setattr(peers, "FAREWELL", 0.6)
    monkeypatch.setattr(peers.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(peers.signal, "set_wakeup_fd", lambda *arguments, **named: None)
    table = Table()
    both = [Peers(table, index, 2, 1.0) for index in range(2)]
    for peer in both:
        peer.start()
    yield both, ends
    for peer in both:
        peer.close()
    for peer in both:
        peer.part()
        assert not peer._watching.is_alive(), "a watch that outlives its process's end may abort it"


def within(seconds, true):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_signal_to_one_is_one_to_all(watched):
    (first, other), ends = watched
    other._writing.send(bytes([peers.signal.SIGTERM]))
    within(60, lambda: first.told() and other.told())
    assert not ends


def test_work_is_not_begun_when_told_and_goes_through_when_not(watched):
    (first, _), _ = watched
    done = []
    first.alone(lambda: done.append(1))
    first._told.set()
    first.alone(lambda: done.append(2))
    assert done == [1]


def test_one_that_falls_silent_ends_the_other(watched):
    (first, other), ends = watched
    within(60, lambda: first._changed[1][0])
    other._say = lambda: None
    within(60, lambda: ends)
    assert "process 1 of 2" in ends[0][1] and "1 s" in ends[0][1]
    assert ends[0][2] == PEER_DIED, "a launcher could not tell it from an error"


def test_the_slowest_input_of_any_is_known_to_the_first(watched):
    (first, other), _ = watched
    assert first.hungriest(0.25) == (0.25, 0)
    assert other.hungriest(0.75) == (0.75, 1)
    within(60, lambda: first.hungriest(0.25) == (0.75, 1))
    other.hungriest(0.125)
    within(60, lambda: first.hungriest(0.25) == (0.25, 0))


def test_one_that_said_goodbye_ends_nobody(watched):
    (_, other), ends = watched
    other.close()
    other._say = lambda: None
    time.sleep(2.5)
    assert not ends


def test_the_first_watches_until_the_others_have_ended(watched):
    (first, other), ends = watched
    parting = threading.Thread(target=first.part)
    parting.start()
    time.sleep(0.5)
    other._writing.send(bytes([peers.signal.SIGTERM]))
    within(60, other.told)
    assert parting.is_alive() and first._watching.is_alive(), "it left while the other worked"
    other.close()
    within(60, lambda: not parting.is_alive())
    assert not first._watching.is_alive() and not ends


def test_the_first_does_not_wait_for_one_that_has_died(watched):
    (first, other), _ = watched
    other._say = lambda: None
    parting = threading.Thread(target=first.part)
    parting.start()
    within(60, lambda: not parting.is_alive())


def test_a_store_that_does_not_answer_ends_the_others(watched):
    (first, other), ends = watched

    answer = threading.Event()
    first._say = other._say = answer.wait
    within(60, lambda: ends)
    answer.set()
    assert "process 0 of 2 has not answered for 1 s" in ends[0][1] and ends[0][2] == PEER_DIED


class JaxRuntimeError(RuntimeError):
    """Called as JAX's."""


@pytest.mark.parametrize("dead", [True, False])
def test_a_broken_connection_is_put_down_to_the_one_that_died(watched, monkeypatch, dead):
    """What the survivor's computation says of it names nobody; if nobody died, it is this process's own error."""
    (first, other), ends = watched
    left = []
    monkeypatch.setattr(peers, "_leave", lambda: left.append(first._own["failed"]))
    within(60, lambda: first._changed[1][0])
    if dead:
        other._say = lambda: None
    error = JaxRuntimeError("FAILED_PRECONDITION: Gloo AllGather failed: Connection closed by peer")
    first.__exit__(JaxRuntimeError, error, None)
    if dead:
        assert "process 1 of 2" in ends[0][1]
    else:
        assert left[0].startswith("JaxRuntimeError: FAILED_PRECONDITION")
        within(60, lambda: ends)
        assert ends[0][1:] == (f"process 0 ended with {left[0]}", 1), "the other is not told why"


def test_an_error_is_heard_though_an_older_message_is_written_over_it(watched, monkeypatch):
    """The watch may have been writing one when the main thread wrote of the error."""
    (_, other), ends = watched
    write, lost = other._store.key_value_set, []

    def overwritten(key, value, allow_overwrite=False):
        if key == "leo/alive/1" and json.loads(value)["failed"] and not lost:
            lost.append(value)
            value = json.dumps({**json.loads(value), "failed": ""})
        write(key, value, allow_overwrite)

    other._store.key_value_set = overwritten

    def leave():
        other._say = lambda: None

    monkeypatch.setattr(peers, "_leave", leave)
    other.__exit__(ValueError, ValueError("damaged"), None)
    within(60, lambda: ends)
    assert lost and ends[0][1] == "process 1 ended with ValueError: damaged"


def test_own_errors_are_told_at_once():
    assert peers.may_be_anothers(JaxRuntimeError("UNAVAILABLE: connection reset"))
    assert not peers.may_be_anothers(JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    assert not peers.may_be_anothers(ValueError("damaged"))
    assert not peers.may_be_anothers(caused(SystemExit("error: no room"), OSError("no room"), OSError(28, "full")))


def test_a_broken_connection_is_seen_behind_what_was_made_of_it():
    broken = JaxRuntimeError("UNKNOWN: Gloo barrier failed: Connection closed by peer")
    assert peers.may_be_anothers(caused(SystemExit("error: checkpoint 5 …"), OSError("checkpoint 5 …"), broken))


def caused(*errors):
    """The first of errors, each of which came of the next."""
    for error, cause in itertools.pairwise(errors):
        error.__context__ = cause
    return errors[0]


def test_it_ends_though_nobody_reads_why():
    """As when the terminal is gone: the watch passes over errors, and this one would keep the process for ever."""
    code = (
        "import contextlib, os, sys; from leo_jax import peers\nr, w = os.pipe(); os.close(r)\n"
        "sys.stderr = os.fdopen(w, 'w')\nwith contextlib.suppress(Exception): peers._end('it is over')\nos._exit(0)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 1


def test_how_long_to_wait_is_the_users():
    assert processes.dead_after({}) == 60
    assert processes.dead_after({"LEO_DEAD_AFTER": "7.5"}) == 7.5
    for wrong in ("1", "soon", "inf", "nan"):
        with pytest.raises(processes.ProcessesError, match=f"LEO_DEAD_AFTER is '{wrong}'"):
            processes.dead_after({"LEO_DEAD_AFTER": wrong})


def test_alone_means_no_ceremony():
    done = []
    peers.alone(lambda: done.append(1))
    peers.check()
    assert done and not peers.told() and peers.current() is None
