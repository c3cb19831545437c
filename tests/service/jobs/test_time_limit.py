"""Time limits of jobs: in the plan, at the end of a job, and beyond it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.tables import Event, Job, JobStatus
from service.shared.jobs import states
from tests.service.jobs.test_evaluating import evaluate, other_rows
from tests.service.jobs.test_warm_start_rules import with_adapter
from tests.service.jobs.test_workers import finish
from tests.service.support import Service, error_of, events_of, run_job, status_of
from worker.request import build_request

AT_LIMIT = {"code": "time_limit", "message": "The time limit of 60 s ended the training.", "hint": "Resume it."}
DAYS = 86_400.0


def planned(service: Service, **changes: Any) -> dict[str, Any]:
    response = service.client.post("/jobs?dry_run=true", json=service.spec(**changes))
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    return plan


def too_short(plan: dict[str, Any]) -> list[str]:
    return [warning for warning in plan["warnings"] if "its training ends" in warning]


def ended(service: Service, limit: float | None = 60.0, used: float = 61.5, **changes: Any) -> str:
    """The id of a job that its time limit has ended, with a model."""
    fields = {} if limit is None else {"time_limit_seconds": limit}
    job: str = service.submit(**fields, **changes)["id"]
    attempt = run_job(service, job)
    with service.db.write() as session:
        result = {"labels": ["label0", "label1"], "eval_accuracy": 0.5, "time_used_seconds": used}
        assert states.fail(session, job, attempt, AT_LIMIT, result)
    return job


def resume(service: Service, job: str, limit: float | None = None) -> Any:
    body = None if limit is None else {"time_limit_seconds": limit}
    return service.client.post(f"/jobs/{job}/resume", json=body)


def test_the_smaller_limit_holds_and_the_plan_says_so(service: Service) -> None:
    service.settings.job_time_limit_seconds = 100.0
    own, without, beyond = (
        planned(service, **fields) for fields in ({"time_limit_seconds": 60}, {}, {"time_limit_seconds": 200})
    )
    assert [plan["time_limit_seconds"] for plan in (own, without, beyond)] == [60, 100, 100]
    assert own["warnings"] == without["warnings"]
    [warning] = set(beyond["warnings"]) - set(own["warnings"])
    assert "200" in warning
    assert "ADAMSS_JOB_TIME_LIMIT_SECONDS" in warning


def test_a_limit_that_the_estimate_exceeds_is_warned_of(service: Service) -> None:
    measured = {"training_seconds": 800.0, "seconds": 1_000.0, "train_rows": 40, "train_tokens": 200, "epochs": 2.0}
    finish(service, service.submit()["id"], device="cpu", **measured)
    needed = planned(service)["estimate"]["seconds"]
    assert not too_short(planned(service, time_limit_seconds=needed + 1))
    [warning] = too_short(planned(service, time_limit_seconds=needed / 2))
    assert "50% of its steps" in warning
    assert "Raise time_limit_seconds" in warning
    service.settings.job_time_limit_seconds = needed / 4
    [warning] = too_short(planned(service))
    assert "Ask the operator" in warning


@pytest.mark.parametrize("limit", [0, -5, 0.2, 1e10, "soon", True, {}])
def test_an_absurd_limit_is_refused(service: Service, limit: object) -> None:
    assert service.refused(time_limit_seconds=limit)["param"] == "time_limit_seconds"
    job = ended(service)
    response = service.client.post(f"/jobs/{job}/resume", json={"time_limit_seconds": limit})
    assert response.status_code == 422
    assert error_of(response.json())["param"] == "time_limit_seconds"
    assert status_of(service, job) == JobStatus.FAILED


def test_the_run_gets_both_limits(service: Service) -> None:
    job = service.submit(time_limit_seconds=60)["id"]
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, job), service.settings)
    assert (request.spec.time_limit_seconds, request.operator_limit, request.time_limit) == (60, 7 * DAYS, 60)
    assert type(request).from_json(request.to_json()) == request


def test_a_job_at_its_limit_is_resumed_with_a_larger_one(any_service: Service) -> None:
    service = any_service
    job = ended(service)
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["status"], shown["resumable"], shown["error"]["code"]) == ("failed", True, "time_limit")
    answer = resume(service, job, 120).json()
    assert (answer["status"], answer["error"], answer["ended_at"], answer["resumable"]) == ("queued", None, None, False)
    assert answer["result"]["eval_accuracy"] == 0.5, "what is published stays until another end replaces it"
    assert answer["spec"]["time_limit_seconds"] == 120
    assert answer["resolved"]["spec"]["time_limit_seconds"] == answer["resolved"]["time_limit_seconds"] == 120
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, job), service.settings)
        resumed = session.scalars(select(Event).where(Event.job_id == job).order_by(Event.seq.desc())).first()
    assert request.time_limit == 120
    assert resumed is not None
    assert (resumed.type, resumed.data) == ("resumed", {"time_limit_seconds": 120})
    assert run_job(service, job) == 2
    with service.db.write() as session:
        assert states.succeed(session, job, 2, {"eval_accuracy": 0.75})
    assert events_of(service, job) == ["queued", "started", "failed", "resumed", "started", "succeeded"]
    assert error_of(resume(service, job, 240).json())["code"] == "job_succeeded"


def test_another_end_keeps_what_was_published_before(service: Service) -> None:
    job = ended(service)
    assert resume(service, job, 120).is_success
    attempt = run_job(service, job)
    with service.db.write() as session:
        assert states.fail(session, job, attempt, {"code": "nan_loss", "message": "NaN.", "hint": ""})
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["error"]["code"], shown["result"]["eval_accuracy"]) == ("nan_loss", 0.5)
    assert not shown["resumable"]


@pytest.mark.parametrize("limit", [None, 30, 60, 61])
def test_what_is_used_up_is_no_limit(service: Service, limit: float | None) -> None:
    """Not the old limit alone: the last step ended after it."""
    job = ended(service)
    response = resume(service, job, limit)
    assert response.status_code == 422
    error = error_of(response.json())
    assert (error["code"], error["param"]) == ("time_limit_too_small", "time_limit_seconds")
    assert "Give time_limit_seconds above 62" in error["message"]
    assert events_of(service, job) == ["queued", "started", "failed"]


def test_an_operators_limit_is_the_operators_to_raise(service: Service) -> None:
    service.settings.job_time_limit_seconds = 60.0
    job = ended(service, None)
    for limit in (None, 500):
        error = error_of(resume(service, job, limit).json())
        assert "Ask the operator for a larger ADAMSS_JOB_TIME_LIMIT_SECONDS" in error["message"]
    service.settings.job_time_limit_seconds = 90.0
    assert resume(service, job).json()["resolved"]["time_limit_seconds"] == 90


def test_a_job_without_a_model_is_resumed_too(service: Service) -> None:
    """Its limit was over before the first step."""
    job: str = service.submit(time_limit_seconds=1)["id"]
    attempt = run_job(service, job)
    with service.db.write() as session:
        assert states.fail(session, job, attempt, AT_LIMIT)
    assert error_of(resume(service, job).json())["code"] == "time_limit_too_small"
    assert resume(service, job, 2).json()["status"] == "queued"


def test_a_paused_job_may_get_another_limit(service: Service) -> None:
    job = service.submit()["id"]
    assert service.client.post(f"/jobs/{job}/pause").json()["resumable"]
    assert resume(service, job, 5).json()["resolved"]["time_limit_seconds"] == 5
    assert service.client.post(f"/jobs/{job}/pause").is_success
    assert resume(service, job).json()["resolved"]["time_limit_seconds"] == 5


def test_deleted_data_and_a_full_queue_keep_a_job_from_being_resumed(service: Service) -> None:
    job = ended(service)
    service.settings.project_queued_jobs = 0
    assert error_of(resume(service, job, 120).json())["code"] == "queue_full"
    service.settings.project_queued_jobs = 10
    dataset = service.client.get(f"/jobs/{job}").json()["spec"]["dataset"]["train"]
    assert service.client.delete(f"/datasets/{dataset}").status_code == 204
    error = error_of(resume(service, job, 120).json())
    assert (error["code"], error["param"]) == ("unknown_dataset", "dataset.train")
    assert status_of(service, job) == JobStatus.FAILED


def test_its_model_is_evaluated_as_any_other(service: Service) -> None:
    job = ended(service)
    with_adapter(service, job)
    with service.db.write() as session:
        row = session.get_one(Job, job)
        row.status, row.error = JobStatus.FAILED, AT_LIMIT
    made = evaluate(service, job, other_rows(service))
    assert made.status_code == 201, made.text
    assert made.json()["resolved"]["spec"]["time_limit_seconds"] is None
    evaluation = made.json()["id"]
    attempt = run_job(service, evaluation)
    with service.db.write() as session:
        assert states.fail(session, evaluation, attempt, AT_LIMIT)
    assert error_of(resume(service, evaluation, 1e6).json())["code"] == "job_failed", "it has no training to resume"
