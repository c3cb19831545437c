from __future__ import annotations

from service.shared.database.tables import Job
from service.shared.jobs.planned_spec import planned_spec

SENT = {"name": "reviews", "base_model": "tiny", "dataset": {"train": "ds_aaaaaaaa"}}


def test_numbers_are_those_of_the_plan() -> None:
    resolved = {"spec": SENT | {"training": {"epochs": 7}}}
    assert planned_spec(Job(spec=SENT, resolved=resolved)).training.epochs == 7


def test_a_job_without_plan_has_the_spec_as_sent() -> None:
    assert planned_spec(Job(spec=SENT, resolved={})).name == "reviews"
