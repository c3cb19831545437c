from __future__ import annotations

import signal
from pathlib import Path

import pytest

from adamss_core.errors import ConfigError
from adamss_core.training.errors import TrainingError
from worker.failures import from_error, from_exit


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
    failure, final = from_error(error)
    assert (failure["code"], final) == (code, deterministic)
    assert failure["message"]
    assert failure["hint"]
