from __future__ import annotations

import signal
from pathlib import Path

import pytest

from adamss_core.errors import ConfigError
from adamss_core.training.errors import TrainingError
from worker.outcome import FILE, Outcome, from_exit, is_repeated
from worker.trainer import describe


def test_outcome_comes_back(tmp_path: Path) -> None:
    outcome = Outcome(2, "failed", {"code": "c", "message": "m", "hint": "h"}, deterministic=True)
    outcome.write(tmp_path)
    assert Outcome.read(tmp_path, 2) == outcome


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"attempt": 1}', '{"attempt": 2, "ended": "stopped"}'])
def test_nothing_is_believed_that_is_not_this_attempts(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert Outcome.read(tmp_path, 1) is None


@pytest.mark.parametrize(
    ("returncode", "code", "words"),
    [
        (-signal.SIGKILL, "process_killed", "ran out of memory"),
        (-signal.SIGSEGV, "process_crashed", "segmentation fault"),
        (-signal.SIGBUS, "process_crashed", "bus error"),
        (-signal.SIGUSR1, "process_killed", "SIGUSR1"),
        (-120, "process_killed", "(120)"),
        (3, "process_exited", "Its last words: no such file"),
    ],
)
def test_exit_statuses_in_words(tmp_path: Path, returncode: int, code: str, words: str) -> None:
    log = tmp_path / "train.log"
    log.write_text("first\n" + "x" * 10_000 + "\nno such\tfile\n\n")
    failure = from_exit(returncode, log)
    assert failure["code"] == code
    assert words.replace(" ", "") in failure["message"].replace(" ", "")
    assert failure["hint"]


def test_exit_without_a_log(tmp_path: Path) -> None:
    assert "status 1" in from_exit(1, tmp_path / "none")["message"]


@pytest.mark.parametrize(
    ("error", "code", "deterministic"),
    [
        (TrainingError("nan_loss", "m", hint="h"), "nan_loss", True),
        (TrainingError("disk_full", "m", hint="h", deterministic=False), "disk_full", False),
        (ConfigError("m", hint="h"), "invalid_config", True),
        (MemoryError(), "out_of_memory", False),
        (RuntimeError("CUDA error"), "internal_error", False),
        (OSError("stale handle"), "internal_error", False),
        (KeyError("label"), "internal_error", True),
    ],
)
def test_errors_in_words(error: Exception, code: str, deterministic: bool) -> None:
    failure, final = describe(error)
    assert (failure["code"], final) == (code, deterministic)
    assert failure["message"]
    assert failure["hint"]


@pytest.mark.parametrize(
    ("code", "last_code", "last_step", "step", "expected"),
    [
        ("stalled", "stalled", 7, 7, True),
        ("stalled", "stalled", 7, 8, False),
        ("stalled", "stalled", None, None, False),  # a model that comes slowly
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
