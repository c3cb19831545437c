"""The process that predicts: its limits, its queue, its end."""

from __future__ import annotations

import fcntl
import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.predict.process import LOCK, WAITING, PredictingProcess, PredictionQueue, clear_orphans, open_log
from service.shared.errors import TimedOut, TooManyRequests, Unavailable
from service.shared.settings import Settings
from tests.processes import ANEW
from tests.worker.support import wait_until


@pytest.fixture
def predictor(tmp_path: Path) -> Iterator[PredictionQueue]:
    predictor = PredictionQueue(Settings(home=tmp_path, predict_timeout_seconds=0.3), ANEW)
    yield predictor
    predictor.close()


def test_time_is_limited_and_nothing_is_left(predictor: PredictionQueue, tmp_path: Path) -> None:
    with pytest.raises(TimedOut) as caught:  # no process can import torch so fast
        predictor.ask({})
    assert (caught.value.status, caught.value.code) == (504, "predict_timeout")
    assert predictor._child is None
    assert list((tmp_path / "cache" / "predict").iterdir()) == []


def test_the_end_of_the_service_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    predictor = PredictionQueue(Settings(home=tmp_path, predict_timeout_seconds=600.0), ANEW)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(predictor.ask, {})
        while predictor._child is None:  # it starts within milliseconds
            threading.Event().wait(0.01)
        predictor.close()
        assert isinstance(asked.exception(60), Unavailable)


def test_queue_is_bounded(predictor: PredictionQueue) -> None:
    with predictor._turn, ThreadPoolExecutor(WAITING + 2) as pool:
        asked = [pool.submit(predictor.ask, {}) for _ in range(WAITING + 2)]
        errors = [future.exception(60) for future in asked]
    assert all(isinstance(error, TooManyRequests) and error.retry_after for error in errors)
    assert predictor._waiting == 0


def test_idle_process_is_ended(tmp_path: Path) -> None:
    """As after an answer: the timer is set, nobody asks again."""
    predictor = PredictionQueue(Settings(home=tmp_path, predict_idle_seconds=0.01), ANEW)
    child = predictor._child = PredictingProcess(Settings(home=tmp_path), ANEW)
    predictor._start_timer()
    assert predictor._timer is not None
    predictor._timer.join(60)
    assert not child.alive
    assert not child.scratch.exists()


def test_orphans_are_cleared(tmp_path: Path) -> None:
    for name in ("orphan", "alive"):
        (tmp_path / name / "artifact").mkdir(parents=True)
        (tmp_path / name / LOCK).touch()
    with (tmp_path / "alive" / LOCK).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        clear_orphans(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_secrets_and_devices_stay_here_and_memory_is_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAMSS_API_KEY", "adamss_secret")
    child = PredictingProcess(Settings(home=tmp_path, allow_hub=False, predict_memory_bytes=2**30), ANEW)
    assert child.pid is not None
    about = Path(f"/proc/{child.pid}")
    wait_until(lambda: (about / "environ").read_bytes() != b"")  # it has none while it becomes another program
    variables = (about / "environ").read_bytes().split(b"\0")
    data = resource.prlimit(child.pid, resource.RLIMIT_DATA)
    child.close()
    assert not any(b"adamss_secret" in variable for variable in variables)
    assert {b"CUDA_VISIBLE_DEVICES=", b"HF_HUB_OFFLINE=1"} <= set(variables)
    assert data == (2**30, 2**30)


def test_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.predict.process.LOG_BYTES", 3)
    path = tmp_path / "predict.log"
    for line in (b"first\n", b"second\n"):
        with open_log(path) as log:
            log.write(line)
    assert (path.read_bytes(), path.with_suffix(".log.1").read_bytes()) == (b"second\n", b"first\n")
