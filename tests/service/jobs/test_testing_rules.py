"""A job's test data are checked as its evaluation data are."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Job
from tests.service.support import Service, error_of, jsonl, rows
from worker.request import build_request


def dry_run(service: Service, **dataset: Any) -> dict[str, Any]:
    response = service.client.post("/jobs?dry_run=true", json=service.spec(dataset=dataset))
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    return plan


@pytest.mark.parametrize(
    ("lines", "code", "param", "says"),
    [
        (None, "unknown_dataset", "dataset.test", "GET /datasets"),
        ([{"body": "a", "label": "label0"}], "unknown_column", "dataset.text", "(dataset.test)"),
        ([{"text": " ", "label": "label0"}], "no_usable_rows", "dataset.test", "without a text"),
        ([{"text": "a", "label": "other"}], "labels_differ", "dataset.test", "same labels"),
    ],
)
def test_test_data_that_cannot_be_used(service: Service, lines: Any, code: str, param: str, says: str) -> None:
    test = "ds_nothere22" if lines is None else service.upload(jsonl(*lines), "test.jsonl")["id"]
    error = service.refused(dataset={"train": service.upload(rows())["id"], "test": test})
    assert (error["code"], error["param"]) == (code, param)
    assert says in error["message"]


def test_dry_run_counts_and_warns(service: Service) -> None:
    train, other = service.upload(rows(40))["id"], service.upload(rows(60))["id"]
    lines = [{"text": "a good film no 3", "label": "label1"}, {"text": "new", "label": "label0"}]
    test = service.upload(jsonl(*lines, {"text": "b", "label": "odd"}, {"text": "", "label": "label0"}), "t.jsonl")[
        "id"
    ]
    plan = dry_run(service, train=train, test=test)
    assert plan["test_rows"] == 2
    for warning in (
        "1 test rows are left out: 1 without a text.",
        "1 test row is left out: labels that the training data do not have ('odd'). Add training rows with them, or "
        "correct the labels.",
        "1 of 4 test rows have the 'text' of a training row, so the test scores may be too good. Remove them from one "
        "of the two data sets.",
    ):
        assert warning in plan["warnings"]
    assert "60 of 60 test rows have the 'text' of an evaluation row" in " ".join(
        dry_run(service, train=train, eval=other, test=other)["warnings"]
    )
    assert dry_run(service, train=train)["test_rows"] == 0


def test_test_data_of_a_job_cannot_be_deleted(any_service: Service) -> None:
    test = any_service.upload(rows(20))["id"]
    job = any_service.submit(dataset={"train": any_service.upload(rows())["id"], "test": test})
    refused = any_service.client.delete(f"/datasets/{test}")
    assert (refused.status_code, error_of(refused.json())["code"]) == (409, "dataset_in_use")
    with any_service.db.read() as session:
        asked = build_request(any_service.db, session.get_one(Job, job["id"]), any_service.settings)
    assert asked.test_file == any_service.settings.files.dataset_rows(test)
    any_service.client.post(f"/jobs/{job['id']}/cancel")
    assert any_service.client.delete(f"/datasets/{test}").status_code == 204
    late = any_service.client.post("/jobs", json=job["spec"])
    assert (late.status_code, error_of(late.json())["param"]) == (422, "dataset.test")
