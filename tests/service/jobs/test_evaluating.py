"""Evaluations of finished models: what is refused, what is queued, and what the worker gets."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Dataset, Job, JobStatus, Project, now
from service.shared.jobs import states
from tests.service.jobs.test_warm_start_rules import with_adapter
from tests.service.support import Service, error_of, jsonl, run_job
from worker.request import build_request


def trained(service: Service, labels: tuple[str, ...] = ("label0", "label1"), **spec: Any) -> str:
    """The id of a job that has succeeded, with an adapter."""
    job: str = service.submit(**spec)["id"]
    with_adapter(service, job)
    with service.db.write() as session:
        session.get_one(Job, job).result = {"labels": list(labels)}
    return job


def evaluate(service: Service, job: str, dataset: str, **fields: Any) -> Any:
    return service.client.post(f"/jobs/{job}/evaluate", json={"dataset": dataset, **fields})


def other_rows(service: Service, count: int = 20) -> str:
    rows = [{"text": f"another text {n}", "label": f"label{n % 2}"} for n in range(count)]
    return str(service.upload(jsonl(*rows), "other.jsonl")["id"])


def test_an_evaluation_is_a_job_that_the_worker_understands(any_service: Service) -> None:
    service = any_service
    job, dataset = trained(service, training={"batch_size": 8}), other_rows(service)
    made = evaluate(service, job, dataset)
    assert made.status_code == 201
    shown = made.json()
    assert made.headers["location"] == f"/jobs/{shown['id']}"
    assert shown["evaluates"] == {"job": job, "model": "trained", "dataset": dataset}
    assert (shown["status"], shown["name"]) == ("queued", f"{service.spec()['name']} on other.jsonl")
    assert (shown["progress"]["total_steps"], shown["resolved"]["warnings"]) == (3, [])
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, shown["id"]), service.settings)
    assert request.evaluates is not None
    assert request.evaluates.archive == service.settings.files.artifact(job, "adapter")
    assert (request.evaluates.sha256, request.evaluates.is_base) == ("0" * 64, False)
    assert request.test_file == service.settings.files.dataset_rows(dataset)
    assert type(request).from_json(request.to_json()) == request
    listed = service.client.get("/jobs", params={"evaluates": job}).json()["data"]
    assert [one["id"] for one in listed] == [shown["id"]]
    assert service.client.get(f"/jobs/{job}").json()["evaluates"] is None


def test_an_evaluation_takes_one_device_and_says_so(service: Service) -> None:
    job = trained(service, resources={"devices": 2}, training={"max_length": 64})
    made = evaluate(service, job, other_rows(service)).json()
    (warning,) = made["resolved"]["warnings"]
    assert "The training asks for 2 devices. This job trains nothing and takes one" in warning
    assert made["devices"] == 1


def test_the_same_key_makes_one_evaluation(service: Service) -> None:
    job, dataset = trained(service), other_rows(service)
    headers = {"idempotency-key": "once"}
    first, second = (
        service.client.post(f"/jobs/{job}/evaluate", json={"dataset": dataset}, headers=headers) for _ in range(2)
    )
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    changed = service.client.post(f"/jobs/{job}/evaluate", json={"dataset": dataset, "name": "x"}, headers=headers)
    assert error_of(changed.json())["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("rows", "code", "param"),
    [
        ([{"text": "a", "sentiment": "label0"}] * 5, "unknown_column", "dataset.label"),
        ([{"text": "a", "label": "stranger"}, {"text": "b", "label": "other"}], "labels_differ", "dataset"),
        ([{"text": "a", "label": None}, {"text": "b", "label": None}], "no_usable_rows", "dataset"),
    ],
    ids=["columns", "labels", "no labels"],
)
def test_data_that_do_not_fit_are_refused(rows: list[dict[str, Any]], code: str, param: str, service: Service) -> None:
    job = trained(service)
    answer = evaluate(service, job, service.upload(jsonl(*rows), "odd.jsonl")["id"])
    error = error_of(answer.json())
    assert (answer.status_code, error["code"], error["param"]) == (422, code, param)
    assert service.client.get("/jobs", params={"evaluates": job}).json()["data"] == []


def test_what_has_no_model_is_refused(service: Service) -> None:
    dataset = other_rows(service)
    running = service.submit()["id"]
    answer = evaluate(service, running, dataset)
    assert (answer.status_code, error_of(answer.json())["code"]) == (409, "job_queued")
    missing = evaluate(service, trained(service), "ds_nosuchdata")
    assert (missing.status_code, error_of(missing.json())["param"]) == (422, "dataset")
    base = evaluate(service, trained(service, ("label0", "label1", "third")), dataset, model="base")
    assert (base.status_code, error_of(base.json())["code"]) == (422, "no_head")
    other = evaluate(service, trained(service), dataset).json()["id"]
    with service.db.write() as session:
        session.get_one(Job, other).status = JobStatus.SUCCEEDED
    again = evaluate(service, other, dataset)
    assert (again.status_code, error_of(again.json())["code"]) == (409, "no_model")
    assert evaluate(service, trained(service), dataset, dataste="x").status_code == 422


def test_another_projects_data_set_is_not_there(service: Service) -> None:
    job, theirs = trained(service), other_rows(service)
    with service.db.write() as session:
        session.add(Project(id="proj_other", name="other", created_at=now()))
        session.flush()
        session.get_one(Dataset, theirs).project_id = "proj_other"
    answer = service.client.post(f"/jobs/{job}/evaluate", json={"dataset": theirs})
    error = error_of(answer.json())
    assert (answer.status_code, error["code"], error["param"]) == (422, "unknown_dataset", "dataset")


def test_rows_that_were_trained_on_and_unknown_labels_are_said(service: Service) -> None:
    job = trained(service)
    with service.db.read() as session:
        train = session.get_one(Job, job).resolved["spec"]["dataset"]["train"]
    (warning,) = evaluate(service, job, train).json()["resolved"]["warnings"]
    assert "of a training row" in warning
    rows = [{"text": f"new {n}", "label": name} for n, name in enumerate(["label0", "label1", "stranger"])]
    unknown, few = evaluate(service, job, service.upload(jsonl(*rows), "c.jsonl")["id"]).json()["resolved"]["warnings"]
    assert few.startswith("Only 2 rows are evaluated")
    assert few.endswith("Name a data set with more rows as dataset.")
    assert unknown.startswith("1 test row is left out: labels that the training data do not have ('stranger').")


def test_a_model_is_not_deleted_while_it_is_evaluated(service: Service) -> None:
    job, dataset = trained(service), other_rows(service)
    made = evaluate(service, job, dataset).json()["id"]
    refused = service.client.delete(f"/jobs/{job}")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "job_in_use")
    assert service.client.delete(f"/datasets/{dataset}").status_code == 409
    service.client.post(f"/jobs/{made}/cancel")
    assert service.client.delete(f"/jobs/{job}").status_code == 204
    assert service.client.get(f"/jobs/{made}").json()["evaluates"]["job"] == job  # its numbers stay


def test_a_result_of_test_scores_is_shown(service: Service) -> None:
    made = evaluate(service, trained(service), other_rows(service)).json()["id"]
    run_job(service, made)
    with service.db.write() as session:
        assert states.succeed(session, made, 1, {"test_accuracy": 0.75, "test_rows": 20})
    shown = service.client.get(f"/jobs/{made}").json()
    assert (shown["status"], shown["result"]["test_accuracy"]) == ("succeeded", 0.75)
