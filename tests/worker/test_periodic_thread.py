"""A thread that works in rounds outlives the errors of its rounds."""

from __future__ import annotations

from threading import Event

import pytest

from worker.periodic_thread import PeriodicThread


class Rounds(PeriodicThread):
    def __init__(self) -> None:
        super().__init__("rounds", 0.01)
        self.count = 0
        self.went_on = Event()

    def round(self) -> None:
        self.count += 1
        if self.count == 1:
            raise KeyError("nobody foresaw this")
        self.went_on.set()


def test_a_round_that_fails_is_logged_and_the_next_one_begins(caplog: pytest.LogCaptureFixture) -> None:
    thread = Rounds()
    thread.start()
    assert thread.went_on.wait(30)
    thread.close()
    (record,) = caplog.records
    assert record.message.startswith("rounds: a round failed")
    assert "nobody foresaw this" in caplog.text
