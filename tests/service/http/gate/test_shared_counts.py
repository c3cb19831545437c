"""Counters that several API processes share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from service.http.gate.rates import RateLimits
from service.http.gate.shared_counts import FileStorage
from service.shared.settings import Settings


def test_two_processes_allow_what_one_allows(tmp_path: Path) -> None:
    storages = [FileStorage(tmp_path / "run" / "requests.db") for _ in range(2)]
    limiters = [SlidingWindowCounterRateLimiter(storage) for storage in storages]
    item = RateLimitItemPerMinute(50)
    with ThreadPoolExecutor(4) as pool:
        allowed = list(pool.map(lambda n: limiters[n % 2].hit(item, "key_1"), range(120)))
    assert sum(allowed) in range(50, 60), "a minute may turn meanwhile"
    assert limiters[0].hit(item, "key_2"), "another key has counters of its own"


def test_a_counter_begins_anew_once_it_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1_000.0
    monkeypatch.setattr("service.http.gate.shared_counts.time.time", lambda: moment)
    storage = FileStorage(tmp_path / "requests.db")
    assert [storage.incr("a", 60) for _ in range(2)] == [1, 2]
    assert storage.decr("a") == 1
    moment = 1_059.0
    assert storage.get("a") == 1
    moment = 1_060.0
    assert storage.get("a") == 0
    assert storage.incr("a", 60) == 1


def test_a_file_that_fails_lets_each_process_count_by_itself(tmp_path: Path) -> None:
    limits = RateLimits(Settings(home=tmp_path, api_processes=2, requests_per_minute=5))
    assert limits.wait_seconds("key") == 0
    assert limits._shared is not None
    storage = limits._shared.storage
    assert isinstance(storage, FileStorage)
    storage._file.close()
    assert [limits.wait_seconds("key") > 0 for _ in range(6)].count(False) >= 5
