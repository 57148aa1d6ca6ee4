"""Processes hear of each other's end and of signals; here the store is a dict, in test_survival they are real."""

import threading
import time

import pytest

from leo_jax import peers, processes
from leo_jax.peers import Peers, news_of


class Table(dict):
    """What JAX's key-value store does."""

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
    assert news_of(alive, {0: 0.1, 1: 59.0, 2: 500.0}, 3, 60.0) == {"told": False, "end": ""}
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


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def watched(monkeypatch):
    """Two peers that watch each other in threads of this process; what they end with is collected instead."""
    ends = []

    def end(why):
        ends.append((threading.current_thread(), why))
        raise SystemExit

    monkeypatch.setattr(peers, "_end", end)
    monkeypatch.setattr(peers, "PULSE", 0.05)
    monkeypatch.setattr(peers.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(peers.signal, "set_wakeup_fd", lambda *arguments, **named: None)
    table = Table()
    both = [Peers(table, index, 2, 1.0) for index in range(2)]
    for peer in both:
        peer.start()
    yield both, ends
    for peer in both:
        peer.close()


def within(seconds, true):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_signal_to_one_is_one_to_all(watched):
    (first, other), ends = watched
    other._writing.send(bytes([peers.signal.SIGTERM]))
    within(5, lambda: first.told() and other.told())
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
    within(5, lambda: 1 in first._changed)
    other._say = lambda: None
    within(10, lambda: ends)
    assert "process 1 of 2" in ends[0][1] and "1 s" in ends[0][1]


def test_one_that_said_goodbye_ends_nobody(watched):
    (_, other), ends = watched
    other.close()
    other._say = lambda: None
    time.sleep(2.5)
    assert not ends


def test_a_store_that_does_not_answer_ends_the_others(watched):
    (first, other), ends = watched

    answer = threading.Event()
    first._say = other._say = answer.wait
    within(10, lambda: ends)
    answer.set()
    assert "process 0 of 2 has not answered for 1 s" in ends[0][1]


class JaxRuntimeError(RuntimeError):
    """Called as JAX's."""


@pytest.mark.parametrize("dead", [True, False])
def test_a_broken_connection_is_put_down_to_the_one_that_died(watched, monkeypatch, dead):
    """What the survivor's computation says of it names nobody; if nobody died, it is this process's own error."""
    (first, other), ends = watched
    left = []
    monkeypatch.setattr(peers, "_leave", lambda: left.append(first._own["failed"]))
    within(5, lambda: 1 in first._changed)
    if dead:
        other._say = lambda: None
    error = JaxRuntimeError("FAILED_PRECONDITION: Gloo AllGather failed: Connection closed by peer")
    first.__exit__(JaxRuntimeError, error, None)
    if dead:
        assert "process 1 of 2" in ends[0][1]
    else:
        assert left[0].startswith("JaxRuntimeError: FAILED_PRECONDITION")
        within(5, lambda: ends)
        assert ends[0][1] == f"process 0 ended with {left[0]}", "the other is not told why"


def test_own_errors_are_told_at_once():
    assert peers.may_be_anothers(JaxRuntimeError("UNAVAILABLE: connection reset"))
    assert not peers.may_be_anothers(JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    assert not peers.may_be_anothers(ValueError("damaged"))


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
