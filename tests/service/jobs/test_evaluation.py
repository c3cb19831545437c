"""What a finished job says about its quality."""

from __future__ import annotations

from service.shared.database.tables import Job
from service.shared.jobs import states
from tests.service.cli.test_jobs import JUDGEMENT, WARNING
from tests.service.support import Service, run_job


def test_the_judgement_and_the_warnings_are_fields_of_the_job(service: Service) -> None:
    job = service.submit()["id"]
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["judgement"], shown["warnings"]) == (None, [])
    run_job(service, job)
    result = {"eval_accuracy": 0.6, "judgement": JUDGEMENT, "warnings": [WARNING]}
    with service.db.write() as session:
        assert states.succeed(session, job, 1, result)
    for shown in (service.client.get(f"/jobs/{job}").json(), service.client.get("/jobs").json()["data"][0]):
        assert (shown["judgement"], shown["warnings"]) == (JUDGEMENT, [WARNING])
    with service.db.write() as session:
        session.get_one(Job, job).result = {"eval_accuracy": 0.6}  # of an earlier version
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["judgement"], shown["warnings"]) == (None, [])
