"""Progress: a bar for a terminal, few lines for a log."""

import io
import pathlib
import re

import pytest

from leo_jax import progress

PACKAGE = pathlib.Path(progress.__file__).parent


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def log_of(count, seconds):
    """What a log gets of `count` updates, each `seconds` after the one before."""
    log, clock = io.StringIO(), Clock()
    with progress.Lines(count, "features", "clip", stream=log, clock=clock) as bar:
        for _ in range(count):
            clock.now += seconds
            bar.update()
    return log.getvalue()


def test_a_log_gets_a_line_in_ten_seconds_and_one_at_the_end():
    """1200 updates in 60 s: six lines, and the last state."""
    log = log_of(1200, 0.05)
    lines = log.splitlines()
    assert 6 <= len(lines) <= 7, lines
    assert lines[1] == "features: 400/1200 clip (33%), 0:00:20 so far, 20 clip/s, 0:00:40 left"
    assert lines[-1] == "features: 1200/1200 clip (100%), 0:01:00 so far, 20 clip/s"
    assert "\r" not in log


def test_the_end_is_told_once():
    """Also where the last update was due a line anyway."""
    assert [line.split(",")[0] for line in log_of(2, 20).splitlines()] == [
        "features: 1/2 clip (50%)", "features: 2/2 clip (100%)",
    ]  # fmt: skip


def test_what_was_done_before_counts_for_no_rate():
    log, clock = io.StringIO(), Clock()
    with progress.Lines(None, "frames", "frame", initial=90, stream=log, clock=clock) as bar:
        clock.now = 5.0
        bar.update(10)
    assert log.getvalue() == "frames: 100 frame, 0:00:05 so far, 2 frame/s\n"


def test_an_error_shows_how_far_it_came():
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt), progress.progress_bar(8, "frames", "frame", stream=log) as bar:
        bar.update(3)
        raise KeyboardInterrupt
    assert log.getvalue().startswith("frames: 3/8 frame (38%)")


def test_a_terminal_gets_a_live_bar():
    terminal = Terminal()
    with progress.progress_bar(4, "frames", "frame", stream=terminal) as bar:
        bar.update(4)
    assert "100%" in terminal.getvalue() and "\r" in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_nothing_is_printed_where_nothing_should_be(stream):
    with progress.progress_bar(4, "frames", "frame", shown=False, stream=stream) as bar:
        bar.update(4)
    assert stream.getvalue() == ""


def test_all_bars_are_these():
    """Training's live line is its own: it prints a line for each row of metrics where there is no terminal."""
    users = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if re.search(r"import tqdm", p.read_text())}
    assert users == {"progress.py", "training/logging.py"}, "make bars with leo_jax.progress.bar"
