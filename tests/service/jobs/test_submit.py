"""Submitting, listing, cancelling and deleting jobs, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from sqlalchemy import select

from service.shared.database.tables import Dataset, Job
from service.shared.jobs import states
from tests.service.support import Service, beside_few_rows, error_of, events_of, finish, report_metrics, run_job


def test_a_job_is_queued_with_its_plan(any_service: Service) -> None:
    spec = any_service.spec(adamss={"use_asa": True, "asa_target_subspaces": 10, "init_warmup": "auto"})
    spec["adamss"] |= {"final_warmup": "auto", "mask_interval": "auto"}
    response = any_service.client.post("/jobs", json=spec)
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["id"].startswith("job_")
    assert job["status"] == "queued"
    assert job["progress"] == {"step": 0, "total_steps": 6, "epoch": 0.0, "eta_seconds": None, "contender": None}
    assert job["spec"] == spec
    assert job["resolved"]["spec"]["adamss"]["final_warmup"] == 3
    assert job["resolved"]["estimate"]["subspaces"] == 20
    assert job["resolved"]["schedule"][-1] == {"step": 3, "wanted": 10}
    assert datetime.fromisoformat(job["created_at"]).utcoffset() is not None
    shown = any_service.client.get(f"/jobs/{job['id']}").json()
    assert shown["queue"]["place"] == 1
    assert shown | {"queue": None} == job
    assert events_of(any_service, job["id"]) == ["queued"]


@pytest.mark.parametrize(
    ("training", "best"),
    [
        ({}, {"name": "accuracy", "direction": "max"}),
        ({"metric_for_best": "macro_f1"}, {"name": "macro_f1", "direction": "max"}),
        ({"metric_for_best": "loss"}, {"name": "loss", "direction": "min"}),
    ],
)
def test_a_job_says_what_its_checkpoints_are_compared_by(
    service: Service, training: dict[str, str], best: dict[str, str]
) -> None:
    job = service.submit(training=training)
    assert job["best_metric"] == best
    assert service.client.get("/jobs").json()["data"][0]["best_metric"] == best


def test_a_plan_without_a_metric_is_shown_too(service: Service) -> None:
    job_id = service.submit()["id"]
    with service.db.write() as session:
        session.get_one(Job, job_id).resolved = {}
    assert service.client.get(f"/jobs/{job_id}").json()["best_metric"] is None


def test_a_dry_run_creates_nothing(any_service: Service) -> None:
    response = any_service.client.post("/jobs?dry_run=true", json=any_service.spec())
    assert response.status_code == 200
    plan = response.json()
    assert plan["object"] == "plan"
    assert plan["estimate"]["train_rows"] == 36
    assert plan["estimate"]["eval_rows"] == 4
    assert beside_few_rows(plan["warnings"]) == []
    assert any_service.client.get("/jobs").json()["data"] == []


def test_only_a_length_that_is_set_is_said_to_be_too_long(service: Service) -> None:
    """Before: who had set nothing was told that training.max_length is more than the model takes."""
    spec = service.spec(training={"max_length": 256})
    plan = service.client.post("/jobs?dry_run=true", json=spec).json()
    assert beside_few_rows(plan["warnings"]) == ["training.max_length is 256, but the model takes 64 tokens at most."]


def test_the_same_key_and_body_is_the_same_job(any_service: Service) -> None:
    spec, headers = any_service.spec(), {"Idempotency-Key": "once"}
    first = any_service.client.post("/jobs", json=spec, headers=headers)
    again = any_service.client.post("/jobs", json=dict(reversed(spec.items())), headers=headers)
    assert "idempotent-replayed" not in first.headers
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    other = any_service.client.post("/jobs", json={**spec, "name": "other"}, headers=headers)
    assert other.status_code == 422
    assert error_of(other.json())["code"] == "idempotency_key_reused"


def test_the_same_key_many_times_at_once_makes_one_job(any_service: Service) -> None:
    spec = any_service.spec()

    def send(_: int) -> tuple[int, str]:
        response = any_service.client.post("/jobs", json=spec, headers={"Idempotency-Key": "at-once"})
        return response.status_code, response.json()["id"]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    assert {status for status, _ in answers} == {201}
    assert len({job_id for _, job_id in answers}) == 1
    assert len(any_service.client.get("/jobs").json()["data"]) == 1


def test_jobs_are_listed_newest_first_page_by_page(any_service: Service) -> None:
    spec = any_service.spec()
    made = [any_service.client.post("/jobs", json={**spec, "name": f"job {n % 2}"}).json()["id"] for n in range(5)]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = any_service.client.get("/jobs", params={"limit": 2, **({"after": after} if after else {})}).json()
        assert page["object"] == "list"
        assert page["total"] == (None if after else 5)
        seen += [job["id"] for job in page["data"]]
        after = page["next"]
        if not page["has_more"]:
            break
    assert seen == made[::-1]
    assert [job["id"] for job in any_service.client.get("/jobs?name=job 1").json()["data"]] == [made[3], made[1]]
    any_service.client.post(f"/jobs/{made[0]}/cancel")
    cancelled = any_service.client.get("/jobs?status=cancelled&status=failed").json()
    assert ([job["id"] for job in cancelled["data"]], cancelled["total"]) == ([made[0]], 1)
    bad = any_service.client.get("/jobs?after=nonsense")
    assert (bad.status_code, error_of(bad.json())["param"]) == (422, "after")
    bad = any_service.client.get("/jobs?status=lost")
    assert (bad.status_code, error_of(bad.json())["param"]) == (422, "status[0]")


def test_a_list_has_everything_of_a_job_but_its_spec_and_plan(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    attempt = run_job(any_service, job_id)
    result = {"eval_accuracy": 0.9, "before_training": {"accuracy": 0.5}}
    with any_service.db.write() as session:
        assert states.succeed(session, job_id, attempt, result)
    (listed,) = any_service.client.get("/jobs").json()["data"]
    whole = any_service.client.get(f"/jobs/{job_id}").json()
    assert (listed["task"], listed["base_model"]) == ("text-classification", "tiny")
    assert listed["best_metric"] == {"name": "accuracy", "direction": "max"}
    assert set(whole) - set(listed) == {"spec", "resolved", "comparison", "metrics_archived_at"}
    assert listed == {name: whole[name] for name in listed} | {"result": {"eval_accuracy": 0.9}}
    assert whole["result"] == result


def test_an_evaluation_is_listed_with_the_model_that_it_evaluates(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    evaluated = {"job": "job_other", "model": "base", "dataset": "ds_other"}
    with any_service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.resolved = job.resolved | {"evaluates": evaluated}
    (listed,) = any_service.client.get("/jobs").json()["data"]
    assert listed["evaluates"] == evaluated


def test_cancel_ends_a_queued_job_and_asks_a_running_one(any_service: Service) -> None:
    queued, running = any_service.submit()["id"], any_service.submit()["id"]
    run_job(any_service, running)
    assert any_service.client.post(f"/jobs/{queued}/cancel").json()["status"] == "cancelled"
    assert any_service.client.post(f"/jobs/{running}/cancel").json()["status"] == "cancelling"
    assert any_service.client.post(f"/jobs/{running}/cancel").json()["status"] == "cancelling"
    again = any_service.client.post(f"/jobs/{queued}/cancel")
    assert again.status_code == 409
    assert error_of(again.json())["code"] == "job_cancelled"


def test_delete_removes_an_ended_job_and_its_files(any_service: Service) -> None:
    spec = any_service.spec()
    sent = any_service.client.post("/jobs", json=spec, headers={"Idempotency-Key": "k"})
    job_id = sent.json()["id"]
    refused = any_service.client.delete(f"/jobs/{job_id}")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "job_queued")
    run_job(any_service, job_id)
    report_metrics(any_service, job_id, [{"loss": 1.0}])
    finish(any_service, job_id, b"zip")
    log = any_service.settings.files.job(job_id).log
    log.parent.mkdir(parents=True)
    log.write_text("log")
    assert any_service.client.delete(f"/jobs/{job_id}").status_code == 204
    assert any_service.client.get(f"/jobs/{job_id}").status_code == 404
    assert not log.parent.exists()
    assert not (any_service.settings.files.job_artifacts(job_id)).exists()
    assert any_service.client.post("/jobs", json=spec, headers={"Idempotency-Key": "k"}).json()["id"] != job_id


def test_a_job_that_only_another_ones_name_mentions_is_deleted(any_service: Service) -> None:
    done = any_service.submit()
    run_job(any_service, done["id"])
    finish(any_service, done["id"], b"zip")
    any_service.submit(name=f"after {done['id']}, on {done['spec']['dataset']['train']}")
    for path in (f"/jobs/{done['id']}", f"/datasets/{done['spec']['dataset']['train']}"):
        assert any_service.client.delete(path).status_code == 204


def test_a_data_set_in_use_cannot_be_deleted(any_service: Service) -> None:
    job = any_service.submit()
    other = any_service.submit(dataset={"train": job["spec"]["dataset"]["train"]})
    path = f"/datasets/{job['spec']['dataset']['train']}"
    refused = any_service.client.delete(path)
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "dataset_in_use")
    for user in (job["id"], other["id"]):
        assert user in error_of(refused.json())["message"]
        any_service.client.post(f"/jobs/{user}/cancel")
    assert any_service.client.delete(path).status_code == 204
    assert any_service.client.get(path).status_code == 404
    assert not list(any_service.settings.files.datasets.iterdir())
    with any_service.db.read() as session:
        assert session.scalars(select(Dataset.profile)).all() == [{}]  # which holds rows, too


@pytest.mark.parametrize("path", ["", "/metrics", "/events", "/logs", "/subspaces", "/checkpoints", "/artifacts"])
def test_an_unknown_job_is_404(service: Service, path: str) -> None:
    response = service.client.get(f"/jobs/job_nothere{path}")
    assert response.status_code == 404
    assert error_of(response.json())["code"] == "job_not_found"
