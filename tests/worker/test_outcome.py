from __future__ import annotations

from pathlib import Path

import pytest

from service.shared.storage.home import JobFolder
from worker.outcome import Outcome, is_repeated


def test_outcome_comes_back(tmp_path: Path) -> None:
    outcome = Outcome(2, "failed", {"code": "c", "message": "m", "hint": "h"}, deterministic=True)
    outcome.write(JobFolder(tmp_path))
    assert Outcome.read(JobFolder(tmp_path), 2) == outcome


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"attempt": 1}', '{"attempt": 2, "ended": "stopped"}'])
def test_nothing_is_believed_that_is_not_this_attempts(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        JobFolder(tmp_path).outcome.write_text(content)
    assert Outcome.read(JobFolder(tmp_path), 1) is None


@pytest.mark.parametrize(
    ("code", "last_code", "last_step", "step", "expected"),
    [
        ("stalled", "stalled", 7, 7, True),
        ("stalled", "stalled", 7, 8, False),
        ("stalled", "stalled", None, None, False),  # a model that comes slowly
        ("rank_lost", "rank_lost", 7, 7, True),
        ("rank_lost", "rank_lost", None, None, False),  # somebody may have killed it
        ("out_of_memory", "out_of_memory", 3, 3, True),
        ("out_of_memory", "out_of_memory", None, None, True),
        ("out_of_memory", "stalled", 3, 3, False),
        ("disk_full", "disk_full", 3, 3, False),
    ],
)
def test_the_same_end_twice(code: str, last_code: str, last_step: int | None, step: int | None, expected: bool) -> None:
    last = {"reason": {"code": last_code}, "step": last_step}
    assert is_repeated(last, {"code": code, "message": "", "hint": ""}, step) is expected
    assert not is_repeated(None, {"code": code, "message": "", "hint": ""}, step)
