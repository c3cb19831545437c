"""Spectra of base models: measured once, by whom it fits, and kept for the next who asks."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adamss_core.spec.spectrum_report import MOST_R, SpectrumReport, report
from adamss_core.training.request import RunResult
from service.shared.database.tables import Job
from service.spectra import weights
from tests.service.support import MODEL, Service, error_of, run_job
from worker.publish import publish
from worker.request import build_request

SECONDS = 60.0
PATH = f"/models/{MODEL}/spectrum"


def measured(service: Service, dataset: str, **fields: Any) -> Any:
    return service.client.post(PATH, json={"dataset": {"train": dataset}, **fields})


@pytest.mark.slow
def test_weights_are_measured_once_and_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first = service.client.get(PATH)
    assert (first.status_code, first.json()["status"], first.json()["report"]) == (202, "measuring", None)
    assert first.headers["retry-after"]
    deadline = time.monotonic() + SECONDS
    while (answer := service.client.get(PATH)).status_code == 202 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status_code == 200
    found = SpectrumReport.model_validate(answer.json()["report"])
    assert len(found.modules) == 13  # of two layers, and the pooler, which the files have
    assert found.suggestion.targets == ["query", "value"]
    assert found.measured_rows is None
    monkeypatch.setattr(weights, "ask_model_reader", None)
    assert service.client.get(PATH).json() == answer.json()


def test_a_failure_is_answered_with_its_reason(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("no process")

    monkeypatch.setattr(weights, "ask_model_reader", fail)
    deadline = time.monotonic() + SECONDS
    while (answer := service.client.get(PATH)).status_code == 202 and time.monotonic() < deadline:
        time.sleep(0.01)
    error = error_of(answer.json())
    assert (answer.status_code, error["code"]) == (503, "spectrum_failed")
    assert "no process" in error["message"]


def test_a_model_that_is_none_is_not_found(service: Service) -> None:
    body = {"dataset": {"train": "ds_" + "a" * 12}}
    other = "/models/other/spectrum"
    for answer in (service.client.get(other), service.client.post(other, json=body)):
        assert (answer.status_code, error_of(answer.json())["code"]) == (404, "unknown_model")


def test_a_data_set_is_measured_by_one_job_and_kept(any_service: Service) -> None:
    service = any_service
    dataset = service.add_rows()
    assert error_of(service.client.get(PATH, params={"dataset": dataset}).json())["code"] == "no_spectrum"
    queued = measured(service, dataset)
    assert queued.status_code == 202, queued.text
    job_id = queued.json()["job"]
    assert measured(service, dataset).json()["job"] == job_id
    shown = service.client.get(f"/jobs/{job_id}").json()
    assert shown["inspects"] == {"model": MODEL, "dataset": dataset}
    assert service.client.get("/jobs").json()["data"][0]["inspects"] == shown["inspects"]
    with service.db.read() as session:
        request = build_request(service.db, session.get_one(Job, job_id), service.settings)
    assert request.inspects
    assert (request.spec.adamss.r, request.spec.adamss.num_subspaces) == (MOST_R, 1)
    assert len(request.spec.adamss.target_modules or []) == 13
    attempt = run_job(service, job_id)
    found = report([], ["query"], seconds=1.0, basis_rows=2, measured_rows=2).model_dump()
    assert publish(service.db, service.settings.home, job_id, attempt, RunResult({}, [], spectrum=found))
    for answer in (measured(service, dataset), service.client.get(PATH, params={"dataset": dataset})):
        assert (answer.status_code, answer.json()["status"], answer.json()["job"]) == (200, "ready", None)
        assert answer.json()["report"] == found
    assert "its report is ready" in service.client.get(f"/jobs/{job_id}/events").json()["data"][-1]["message"]
    other = measured(service, dataset, task="text-classification", problem_type="multi_label_classification")
    assert other.status_code in {202, 422}  # never the spectrum of another reading


def test_what_does_not_fit_is_refused(service: Service) -> None:
    dataset = service.add_rows()
    several = service.client.post(PATH, json={"dataset": {"train": [dataset, dataset]}})
    assert (several.status_code, error_of(several.json())["param"]) == (422, "dataset.train")
    both = measured(service, dataset, task="image-classification", problem_type="regression")
    assert both.status_code == 422
    odd = measured(service, dataset, task="token-classification", problem_type="regression")
    assert (odd.status_code, error_of(odd.json())["code"]) == (422, "invalid_field")
    columns = service.client.post(PATH, json={"dataset": {"train": dataset, "text": "nothing"}})
    assert (columns.status_code, error_of(columns.json())["param"]) == (422, "dataset.text")
    stranger = {"authorization": f"Bearer {service.key_for('other')}"}
    answer = service.client.get(PATH, params={"dataset": dataset}, headers=stranger)
    assert (answer.status_code, error_of(answer.json())["code"]) == (404, "dataset_not_found")
