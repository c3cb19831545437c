"""A run of several processes ends together: by a signal, and when one of them dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import pytest

from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.ranks import peers
from adamss_core.training.ranks.peers import PEER_DIED_STATUS, JoinWatch, PeerWatch
from tests.adamss_core.training.ranks.processes import DEADLINE, ran, started
from tests.adamss_core.training.support import job, request, texts

pytestmark = pytest.mark.slow

TRAINING = {"max_steps": 20_000, "eval_steps": 20_000, "checkpoint_steps": 10_000}


def await_step(path: Path) -> None:
    deadline = monotonic() + DEADLINE
    while not path.with_suffix(".step").exists():
        assert monotonic() < deadline, "no step was made"
        sleep(0.02)


def test_a_signal_to_all_stops_all_at_one_step(model: Path, tmp_path: Path) -> None:
    """As a launcher passes it on: rank 0 answers it for all, and writes the checkpoint."""
    asked = request(model, tmp_path, texts(203), spec=job(training=TRAINING))
    with started(asked, 2) as (processes, path):
        await_step(path)
        for process in reversed(processes):
            process.terminate()
        assert [process.wait(DEADLINE) for process in processes] == [0, 0], path.with_suffix(".log1").read_text()
    ended = json.loads(path.with_suffix(".ended").read_text())
    assert ended["error"] == {"code": "stopped"}
    store = CheckpointStore(tmp_path / "checkpoints", 1)
    assert store.steps() == [ended["steps"][-1]]
    assert store.problem(ended["steps"][-1]) is None


@pytest.mark.compat
def test_the_time_limit_ends_all_at_one_step(model: Path, tmp_path: Path) -> None:
    """Rank 0 alone looks at the clock; the best model so far is published."""
    asked = request(model, tmp_path, texts(203), spec=job(training=TRAINING, time_limit_seconds=2.0))
    with started(asked, 2) as (processes, path):
        assert [process.wait(DEADLINE) for process in processes] == [0, 0], path.with_suffix(".log1").read_text()
    ended = json.loads(path.with_suffix(".ended").read_text())
    assert ended["error"]["code"] == "time_limit"
    assert ended["checkpoints"][-1]["step"] == ended["steps"][-1] < TRAINING["max_steps"]


@pytest.mark.parametrize(
    "victim", [pytest.param(0, marks=pytest.mark.compat), pytest.param(1, marks=pytest.mark.compat)]
)
def test_the_death_of_one_process_ends_the_others(model: Path, tmp_path: Path, victim: int) -> None:
    asked = request(model, tmp_path, texts(203), spec=job(training=TRAINING))
    fault = {"FAILPOINT": "gradients:kill:3"}
    with started(asked, 2, environment=lambda rank: fault if rank == victim else {}) as (processes, path):
        statuses = [process.wait(DEADLINE) for process in processes]
    assert statuses[victim] == -9
    if victim == 0:
        assert statuses[1] in (0, PEER_DIED_STATUS)
        assert "process of this run has died" in path.with_suffix(".log1").read_text() or statuses[1]
        return
    ended = json.loads(path.with_suffix(".ended").read_text())
    assert (ended["error"]["code"], ended["error"]["deterministic"]) == ("rank_lost", False)
    assert ended["steps"] == [1, 2]


@pytest.mark.compat
def test_a_run_after_a_death_is_that_of_one_process(model: Path, tmp_path: Path) -> None:
    """Two processes to the checkpoint of step 10, a death at step 13, and one process from there to the end."""
    spec = job(training={"max_steps": 20, "checkpoint_steps": 5, "logging_steps": 1})
    asked = request(model, tmp_path, texts(203), spec=spec)
    fault = {"FAILPOINT": "gradients:kill:13"}
    with started(asked, 2, environment=lambda rank: fault if rank else {}) as (processes, _):
        statuses = [process.wait(DEADLINE) for process in processes]
    assert statuses == [0, -9]
    rest = ran(asked, 1)
    assert rest.steps == list(range(11, 21))
    assert rest.artifacts == ["adapter.zip"]


def child(seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", f"import time; time.sleep({seconds})"])


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], Event]:
    """The statuses with which this process would have ended."""
    statuses: list[int] = []
    ended = Event()

    def end(number: int) -> None:
        statuses.append(number)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(peers, "GRACE_SECONDS", 0.0)
    return statuses, ended


def test_a_process_that_waits_elsewhere_is_ended_too(status: tuple[list[int], Event]) -> None:
    """As one that waits for a GPU, where no collective can fail."""
    process = child(600)
    watch = PeerWatch([process.pid], lambda: False)
    assert not status[1].is_set()
    process.kill()
    assert status[1].wait(DEADLINE)
    assert status[0] == [PEER_DIED_STATUS]
    process.wait()
    watch.close()


def test_a_death_before_all_have_joined_ends_the_process_that_waits(status: tuple[list[int], Event]) -> None:
    """The rendezvous does not notice it."""
    process = child(600)
    with JoinWatch(lambda: process.poll() is None):
        assert status[0] == []
        process.kill()
        assert status[1].wait(DEADLINE)
    assert status[0] == [PEER_DIED_STATUS]
    process.wait()


def test_a_death_after_all_have_joined_is_left_to_the_watch_of_peers(status: tuple[list[int], Event]) -> None:
    alive = Event()
    alive.set()
    watch = JoinWatch(alive.is_set)
    with watch:
        pass
    watch.thread.join(DEADLINE)
    alive.clear()
    assert status[0] == []


@pytest.mark.parametrize("explained", [True, False])
def test_an_end_that_is_explained_or_after_the_run_has_no_consequences(
    status: tuple[list[int], Event], explained: bool
) -> None:
    process = child(600)
    asked = Event()

    def is_explained() -> bool:
        asked.set()
        return True

    watch = PeerWatch([process.pid], is_explained)
    if not explained:
        watch.close()
    process.kill()
    process.wait()
    if explained:
        assert asked.wait(DEADLINE)
    watch.thread.join(DEADLINE)
    assert status[0] == []
    watch.close()
