from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.shared.storage.home import JobFolder
from worker.write_ahead_log import WriteAheadLog

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ROW = {"kind": "train", "step": 1, "time": MOMENT, "values": {"loss": None}}


def test_the_next_process_reads_what_was_added_in_order(tmp_path: Path) -> None:
    log = WriteAheadLog(JobFolder(tmp_path))
    assert log.left == []
    log.add("metric", ROW)
    log.add("checkpoint", {"step": 1, "created_at": MOMENT})
    assert WriteAheadLog(JobFolder(tmp_path)).left == [
        ("metric", ROW),
        ("checkpoint", {"step": 1, "created_at": MOMENT}),
    ]


def test_a_line_that_a_kill_cut_off_is_skipped_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    WriteAheadLog(JobFolder(tmp_path)).add("metric", ROW)
    with JobFolder(tmp_path).reports.open("a") as file:
        file.write('{"kind": "metric", "row": {"st')
    WriteAheadLog(JobFolder(tmp_path)).add("metric", ROW | {"step": 2})
    assert [row["step"] for _, row in WriteAheadLog(JobFolder(tmp_path)).left] == [1, 2]


def test_cleared_means_empty(tmp_path: Path) -> None:
    log = WriteAheadLog(JobFolder(tmp_path))
    log.add("metric", ROW)
    log.clear()
    log.add("event", {"type": "late", "time": MOMENT})
    assert [kind for kind, _ in WriteAheadLog(JobFolder(tmp_path)).left] == ["event"]
