"""The meter on devices and an input of known speed, by a clock that only they move."""

import numpy as np
import pytest

from leo_jax.training import meter
from leo_jax.training.meter import Meter


class Machine:
    """One device that does its steps in order, an input that takes its time, and the clock both go by."""

    def __init__(self, monkeypatch):
        self.now = self.free = 0.0
        monkeypatch.setattr(meter.time, "perf_counter", lambda: self.now)

    def send(self, seconds):
        self.free = max(self.now, self.free) + seconds
        return {"loss": Later(self, self.free)}


class Later:
    """A scalar that the device will have worked out at `done`; reading it waits, as reading an array does."""

    def __init__(self, machine, done):
        self.machine, self.done = machine, done

    def is_ready(self):
        return self.machine.now >= self.done

    def __array__(self, dtype=None, copy=None):
        self.machine.now = max(self.machine.now, self.done)
        return np.zeros((), np.float32)


def measure(monkeypatch, step, waits, host=0.0):
    """The rate of a run with steps of `step` seconds whose batches come after these waits."""
    machine, meter = Machine(monkeypatch), Meter()
    for number, wait in enumerate([0.0, *waits], 1):
        with meter.waiting():
            machine.now += wait
        machine.now += host
        meter.add(number, machine.send(step if number > 1 else 100.0), images=8)  # the first one compiles
    meter.row()
    return meter.rate()


@pytest.mark.parametrize("wait", [0.0, 0.2, 0.9])
def test_input_that_keeps_up_is_not_waited_for(wait, monkeypatch):
    rate = measure(monkeypatch, step=1.0, waits=[wait] * 40)
    assert rate.input_wait == pytest.approx(wait / 40, abs=0.01), "only before the first step do the devices lack work"
    assert rate.steps == pytest.approx(1.0, rel=0.03)
    assert rate.images == pytest.approx(8 * rate.steps)


@pytest.mark.parametrize(("step", "wait", "share"), [(1.0, 4.0, 0.75), (1.0, 1.25, 0.2), (0.0, 1.0, 1.0)])
def test_slow_input_is_waited_for(step, wait, share, monkeypatch):
    rate = measure(monkeypatch, step=step, waits=[wait] * 40)
    assert rate.input_wait == pytest.approx(share, abs=0.03), "the devices stand still for wait − step of each wait"


def test_two_steps_ahead_hide_an_uneven_input(monkeypatch):
    assert measure(monkeypatch, step=1.0, waits=[0.0, 0.0, 1.6] * 13).input_wait < 0.01


def test_hiccups_of_the_input_count_beyond_what_was_under_way(monkeypatch):
    """Every tenth batch is 20 s late; up to two steps of 1 s hide a part of that."""
    rate = measure(monkeypatch, step=1.0, waits=([0.0] * 9 + [20.0]) * 4 + [0.0] * 5)
    total = 45 / rate.steps
    assert 4 * 17 / total < rate.input_wait < 4 * 20 / total


def test_host_that_is_slow_is_not_the_input(monkeypatch):
    rate = measure(monkeypatch, step=1.0, waits=[0.0] * 40, host=3.0)
    assert rate.input_wait == 0 and rate.steps == pytest.approx(1 / 3, rel=0.1)


def test_each_window_is_measured_by_itself(monkeypatch):
    machine, meter = Machine(monkeypatch), Meter()
    shares = []
    for number in range(1, 61):
        with meter.waiting():
            machine.now += 3.0 if number <= 30 else 0.0
        meter.add(number, machine.send(1.0), images=1)
        if number % 30 == 0:
            meter.row()
            shares.append(meter.rate().input_wait)
    assert shares[0] == pytest.approx(2 / 3, abs=0.05) and shares[1] < 0.01


def test_pauses_are_not_training(monkeypatch):
    machine, meter = Machine(monkeypatch), Meter()
    for number in range(1, 12):
        with meter.waiting():
            pass
        meter.add(number, machine.send(1.0), images=1)
        meter.finish()
        with meter.paused():
            machine.now += 50.0
    meter.row()
    assert meter.rate() == pytest.approx((1.0, 1.0, 0.0))
