"""The claim in SQL and the rule choose the same job, on random states and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from service.shared.database.tables import Job, now
from service.shared.jobs import kept_places, states
from service.shared.jobs.fleet_rule import FleetWorker, job_to_reserve, next_job
from service.shared.jobs.kept_places import Places
from tests.service.shared.jobs.random_fleet import BEGIN, Fleet, random_fleet, without_dead, write
from tests.worker.support import Service, scaled_settings

RESERVE_SECONDS = 1_500.0
CASES = [pytest.param(150, id="a-few"), pytest.param(10_000, id="all", marks=pytest.mark.compat)]


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url: dict[str, str] = (
        {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("migrated_postgres_url")}
    )
    service = Service(scaled_settings(tmp_path / "home", **url))
    yield service
    service.db.close()


@pytest.mark.parametrize("count", CASES)
def test_sql_and_rule_choose_the_same(service: Service, count: int) -> None:
    chosen: set[str | None] = set()
    kept: set[str | None] = set()
    for seed in range(count):
        fleet = random_fleet(Random(seed))
        with service.db.write() as session:
            write(session, fleet)
        for worker in fleet.workers:
            expected = next_job(without_dead(fleet), fleet.shares, worker)
            found = claimed(service, worker)
            assert found == (expected and expected.id), f"seed {seed}, {worker.id}"
            chosen.add(found)
        kept.add(check_kept(service, fleet))
    assert len(chosen) > 5  # the states are not all empty or full
    assert len(kept) > 1


def claimed(service: Service, worker: FleetWorker) -> str | None:
    places = Places(worker.id, worker.devices)
    with service.db.read() as session:
        found = states.next_in_turn(session, fit=kept_places.fits_now(session, places))
    if found is not None:
        with service.db.write() as session:  # as a claim asks again
            assert states.next_in_turn(session, fit=kept_places.fits_now(session, places), lock_as=found) == found
    return found


def check_kept(service: Service, fleet: Fleet) -> str | None:
    """The worker keeps places for the job that the rule says."""
    worker = fleet.workers[0]
    expected = job_to_reserve(without_dead(fleet), fleet.shares, worker, -RESERVE_SECONDS)
    places = Places(worker.id, worker.devices)
    with service.db.write() as session:
        found = kept_places.keep_places(session, places, (now() - BEGIN).total_seconds() + RESERVE_SECONDS)
        assert found == (expected and expected.id), fleet
        assert found is None or session.get_one(Job, found).reserved_for == worker.id
    return found
