from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adamss_core.errors import ConfigError
from adamss_core.spec import SpecProblem
from adamss_core.training.errors import TrainingError, translated_errors
from adamss_core.training.request import RunRequest
from tests.adamss_core.training.support import job


@pytest.mark.parametrize("given", [Path("/data/eval.jsonl"), None])
def test_a_request_survives_json(given: Path | None) -> None:
    request = RunRequest("job_1", job(), Path("/data/t.jsonl"), given, "org/model", "main", Path("/run"), given, 3)
    assert RunRequest.from_json(request.to_json()) == request


def test_an_older_request_takes_the_default_of_a_new_field() -> None:
    request = RunRequest("job_1", job(), Path("t"), None, "m", None, Path("/run"), None)
    text = request.to_json().replace(', "keep_checkpoints": 2', "")
    assert "keep_checkpoints" not in text
    assert RunRequest.from_json(text) == replace(request, keep_checkpoints=2)


def test_errors_survive_pickling() -> None:
    error = TrainingError("nan_loss", "It broke.", hint="Do less.", deterministic=False, where="step 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, copy.hint, copy.deterministic, copy.where) == (
        "nan_loss",
        "It broke.",
        "Do less.",
        False,
        "step 3",
    )


@pytest.mark.parametrize(
    ("raised", "code", "deterministic"),
    [
        (MemoryError(), "out_of_memory", False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", False),
        (OSError(28, "No space left on device"), "disk_full", False),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk_full", False),
        (ConfigError("r is wrong.", hint="Fix it.", where="r"), "invalid_config", True),
        (SpecProblem("adamss.final_warmup", "too late", "schedule_unreachable"), "schedule_unreachable", True),
    ],
)
def test_what_is_known_to_go_wrong_gets_a_code(raised: Exception, code: str, deterministic: bool) -> None:
    with pytest.raises(TrainingError) as caught, translated_errors():
        raise raised
    assert (caught.value.code, caught.value.deterministic) == (code, deterministic)
    assert caught.value.message
    assert caught.value.hint
    assert caught.value.__cause__ is raised


def test_what_is_not_known_passes() -> None:
    with pytest.raises(ZeroDivisionError), translated_errors():
        raise ZeroDivisionError


def test_requests_and_errors_need_no_torch() -> None:
    code = "import sys, adamss_core.training; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
