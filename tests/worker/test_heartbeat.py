from __future__ import annotations

import os
from pathlib import Path
from time import sleep

from service.shared.storage.home import JobFolder
from worker.heartbeat import Heartbeat, HeartbeatMonitor, last_step


def test_silence_ends_with_a_touch_and_not_with_the_wall_clock(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    monitor = HeartbeatMonitor(folder)
    heartbeat = Heartbeat(folder, attempt=1)
    sleep(0.05)
    assert monitor.silent_for() >= 0.05
    heartbeat.touch()
    assert monitor.silent_for() < 0.05
    os.utime(folder.heartbeat, (0, 0))  # a clock that was set back is a touch like any other
    sleep(0.05)
    assert monitor.silent_for() < 0.05


def test_the_last_step_is_that_of_the_attempt(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert last_step(folder, 1) is None
    first = Heartbeat(folder, attempt=1)
    assert last_step(folder, 1) is None
    for step in (9, 10, 11):
        first.record_step(step)
    assert last_step(folder, 1) == 11
    assert last_step(folder, 2) is None, "the second made none yet"
    Heartbeat(folder, attempt=2).record_step(3)
    assert last_step(folder, 2) == 3
    folder.step.write_text("")
    assert last_step(folder, 2) is None
