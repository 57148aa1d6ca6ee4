"""The log under bad luck: an event file that cannot be written is an error, and what TensorBoard reads is what was given."""

import errno

import numpy as np
import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from leo_jax.data import tfrecord
from leo_jax.training.events import Events
from leo_jax.training.logging import RunLog


def events(folder):
    """All events in the folder, in order."""
    files = sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)
    return [Event.FromString(data) for path in files for _, data in tfrecord.scan(str(path))]


def test_events_are_what_was_given(tmp_path):
    log = Events(tmp_path, 0)
    log.scalars(3, {"loss": 0.5, "detail/one": 2.0})
    log.picture(4, "sheet", np.full((4, 6, 3), 7, np.uint8))
    log.close()
    first, loss, detail, sheet = events(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in (loss, detail)] == [
        (3, "loss", 0.5),
        (3, "detail/one", 2.0),
    ]
    image = sheet.summary.value[0].image
    assert (sheet.step, image.height, image.width) == (4, 4, 6)


def test_a_resumed_log_hides_what_came_after(tmp_path):
    Events(tmp_path, 7).close()
    _, begun = events(tmp_path)
    assert (begun.step, begun.session_log.status) == (8, SessionLog.START)


def test_an_event_file_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    """It must be said, and not be waited for: neither by the row that it befalls nor when the log is closed."""

    def full(self, event):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="tensorboard beside it cannot be written") as caught:
        with RunLog(tmp_path, step=0, steps=9) as log:
            monkeypatch.setattr(EventsWriter, "write_event", full)
            log.row(1, {"loss": 0.5}, 1.0, 1.0)
    assert caught.value.errno == errno.ENOSPC
