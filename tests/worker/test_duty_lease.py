"""One worker at a time has a duty, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.shared.database.engine import Database
from service.shared.database.tables import Base
from tests.worker.support import wait_until
from worker.duty_lease import DutyLease, DutyLost


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    own = f"sqlite:///{tmp_path}/a.db"
    db = Database(own if request.param == "sqlite" else request.getfixturevalue("migrated_postgres_url"))
    Base.metadata.create_all(db.engine)
    yield db
    db.close()


def lease(db: Database, seconds: float = 300.0, pass_seconds: float = 60.0) -> DutyLease:
    return DutyLease(db, "a duty", seconds=seconds, pass_seconds=pass_seconds)


def test_of_many_tries_at_once_one_wins(db: Database) -> None:
    leases = [lease(db) for _ in range(60)]
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(DutyLease.take, leases)) == 1


def test_the_next_pass_waits_for_its_time_whoever_makes_it(db: Database) -> None:
    first, second = lease(db, seconds=0.3), lease(db)
    assert first.take()
    assert not second.take()
    first.end()
    assert not first.take()
    assert not second.take()
    wait_until(second.take)
    second.end()
    assert not first.take()


def test_a_worker_that_died_is_replaced_and_one_that_is_alive_is_not(db: Database) -> None:
    first, second = lease(db, pass_seconds=0.0), lease(db)
    assert first.take()
    first.renew()
    assert second.take()  # the first one's lease has expired
    for go_on in (first.renew, first.end):
        with pytest.raises(DutyLost):
            go_on()
    second.renew()
    second.end()
