"""What a finished job says about its quality."""

from __future__ import annotations

from service.shared.database.tables import Evaluation, Job
from service.shared.jobs import states
from tests.service.cli.test_jobs import ANSWER, GENERATION, JUDGEMENT, REPORT, RESIDUALS, WARNING
from tests.service.support import Service, error_of, run_job


def test_reports_are_shown_and_deleted_with_the_job(any_service: Service) -> None:
    service = any_service
    job = service.submit()["id"]
    assert service.client.get(f"/jobs/{job}/evaluation").json()["data"] == []
    whole = REPORT | {"residuals": RESIDUALS, "generation": GENERATION, "answers": [ANSWER]}
    short = {name: REPORT[name] for name in ("rows", "metrics", "baseline", "judgement", "warnings")}
    with service.db.write() as session:
        session.add(Evaluation(job_id=job, place=2, report=short | {"data": "test"}))
        session.add(Evaluation(job_id=job, place=1, report=whole))
    first, second = service.client.get(f"/jobs/{job}/evaluation").json()["data"]
    assert first == whole
    assert (second["data"], second["classes"], second["metrics"]) == ("test", None, REPORT["metrics"])
    service.client.post(f"/jobs/{job}/cancel")
    assert service.client.delete(f"/jobs/{job}").status_code == 204
    with service.db.read() as session:
        assert session.query(Evaluation).count() == 0
    response = service.client.get("/jobs/job_nothere1234/evaluation")
    assert (response.status_code, error_of(response.json())["code"]) == (404, "job_not_found")


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
