"""Phases of a job, from the events that begin them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from service.cli.job_facts import phases_line
from service.jobs.phase_times import between
from service.shared.database.tables import Event, Job, now
from service.shared.jobs import states
from tests.service.support import Service, run_job

BEGUN = now()


def events(*found: tuple[float, str, dict[str, Any]]) -> list[Event]:
    return [
        Event(seq=seq, attempt=1, time=BEGUN + timedelta(seconds=at), type=kind, message="", data=data)
        for seq, (at, kind, data) in enumerate(found)
    ]


def test_a_phase_lasts_until_the_next_one_or_the_end() -> None:
    made = events(
        (0, "queued", {}),
        (2, "started", {}),
        (3, "phase", {"phase": "loading"}),
        (3.5, "phase", {"phase": "training"}),
        (9, "paused", {}),
        (20, "resumed", {}),
        (21, "started", {}),
        (21.5, "phase", {"phase": "verifying", "artifact": "lora"}),
        (22, "succeeded", {}),
    )
    found = [(one.phase, one.seconds) for one in between(made)]
    assert found == [
        ("waiting", 2.0), ("starting", 1.0), ("loading", 0.5), ("training", 5.5), ("paused", 11.0), ("waiting", 1.0),
        ("starting", 0.5), ("verifying", 0.5),
    ]  # fmt: skip
    assert [one.artifact for one in between(made)][-1] == "lora"
    assert [one.phase for one in between(made[:-1])][-1] == "verifying"
    assert list(between(made[:-1]))[-1].seconds is None, "it lasts"


def test_clocks_of_two_hosts_make_no_negative_time() -> None:
    assert [one.seconds for one in between(events((5, "queued", {}), (4, "started", {})))] == [0.0, None]


def test_the_phases_of_a_job_are_listed(any_service: Service) -> None:
    job = any_service.submit()["id"]
    listed = any_service.client.get(f"/jobs/{job}/phases").json()["data"]
    assert [(one["phase"], one["attempt"], one["seconds"]) for one in listed] == [("waiting", 0, None)]
    attempt = run_job(any_service, job)
    with any_service.db.write() as session:
        states.add_event(session, session.get_one(Job, job), "phase", "Loading.", {"phase": "loading"})
        states.add_event(session, session.get_one(Job, job), "samples", "Beside it.", {})
        assert states.succeed(session, job, attempt, {})
    listed = any_service.client.get(f"/jobs/{job}/phases").json()["data"]
    assert [one["phase"] for one in listed] == ["waiting", "starting", "loading"]
    assert all(one["seconds"] >= 0 for one in listed)
    assert any_service.client.get("/jobs/job_aaaaaaaaaaaa/phases").status_code == 404


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        ([("waiting", 0.25), ("training", 3.0), ("waiting", 1.0)], "waiting 1.2 s, training 3.0 s"),
        ([("waiting", 0.25), ("training", None)], "waiting 0.2 s, training 0.0 s …"),
    ],
)
def test_a_line_sums_all_attempts(seconds: list[tuple[str, float | None]], line: str) -> None:
    phases: Any = [{"phase": name, "seconds": spent, "attempt": 1} for name, spent in seconds]
    assert phases_line(phases) == line
