"""Runs beside each other: pinned baselines, differences, and the paired test on the same rows."""

from __future__ import annotations

import random
from typing import Any

import pytest

from service.shared.database.tables import Evaluation, Job
from tests.service.support import Service, error_of


def shares(right: list[int]) -> dict[str, Any]:
    numbers = list(range(1, len(right) + 1))
    return {"numbers": numbers, "loss": [0.5] * len(right), "metric": "accuracy", "share": right}


def ended(service: Service, row_results: dict[str, Any] | None, **changes: Any) -> str:
    """A job with a report of single rows."""
    job_id: str = service.submit(**changes)["id"]
    with service.db.write() as session:
        session.get_one(Job, job_id).result = {"eval_accuracy": 0.75 if row_results else None, "eval_rows": 9}
        report = {"data": "train", "rows": 100, "row_results": row_results}
        session.add(Evaluation(job_id=job_id, place=1, report=report))
    return job_id


def compared(service: Service, job: str, other: str | None = None) -> dict[str, Any]:
    answer = service.client.get(f"/jobs/{job}/comparison", params={"with": other} if other else {})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def dataset(service: Service) -> dict[str, str]:
    return {"train": service.add_rows()}


def test_mcnemar_tells_runs_apart_on_the_same_rows(service: Service, dataset: dict[str, str]) -> None:
    """12 rows that only the one has right against 2: the exact two-sided p is 0.0129; 5 against 3 show nothing."""
    base = [1] * 60 + [0] * 40
    better = [0] * 2 + [1] * 58 + [1] * 12 + [0] * 28
    alike = [0] * 3 + [1] * 57 + [1] * 5 + [0] * 35
    other, one, two = (ended(service, shares(right), dataset=dataset) for right in (base, better, alike))
    paired = compared(service, one, other)["paired"]
    assert (paired["method"], paired["rows"], paired["measure"], paired["differ"]) == ("McNemar", 100, "accuracy", True)
    assert paired["p_value"] == pytest.approx(0.012939453125)
    assert paired["difference"] == pytest.approx(0.1)
    assert 0.0 < paired["low"] < 0.1 < paired["high"]
    assert compared(service, two, other)["paired"]["differ"] is False


@pytest.mark.parametrize(
    ("numbers", "cause"), [([1, 2, 3], "hold out more rows"), ([4, 5, 6], "each job held out other rows")]
)
def test_too_few_common_rows_have_their_true_cause(
    service: Service, dataset: dict[str, str], numbers: list[int], cause: str
) -> None:
    found = shares([1, 0, 1])
    one, two = (ended(service, part, dataset=dataset) for part in (found, found | {"numbers": numbers}))
    assert cause in compared(service, one, two)["not_paired"]


def test_losses_are_compared_by_the_paired_bootstrap(service: Service, dataset: dict[str, str]) -> None:
    source = random.Random(0)
    hard = [source.random() for _ in range(200)]
    first = {"numbers": list(range(200)), "loss": hard, "metric": "pearson", "share": None}
    second = first | {"loss": [loss + 0.05 + 0.1 * source.random() for loss in hard]}
    one, two = ended(service, first, dataset=dataset), ended(service, second, dataset=dataset)
    paired = compared(service, one, two)["paired"]
    assert (paired["method"], paired["measure"], paired["p_value"]) == ("paired bootstrap", "loss", None)
    assert paired["difference"] == pytest.approx(-0.1, abs=0.01)
    assert paired["low"] < paired["difference"] < paired["high"] < 0.0
    assert paired["differ"] is True


def test_what_cannot_be_paired_says_why(service: Service, dataset: dict[str, str]) -> None:
    one, old = ended(service, shares([1] * 50), dataset=dataset), ended(service, None, dataset=dataset)
    apart = ended(service, shares([1] * 50) | {"numbers": list(range(500, 550))}, dataset=dataset)
    strange = ended(service, shares([1] * 50))
    reasons = [compared(service, one, other)["not_paired"] for other in (old, apart, strange)]
    for word, reason in zip(("single rows", "Only 0 rows", "same data set"), reasons, strict=True):
        assert word in reason


def test_the_baseline_of_the_group_goes_before_that_of_the_project(service: Service, dataset: dict[str, str]) -> None:
    rates = {"training": {"learning_rate": 0.02}}
    one, project, group = (ended(service, shares([1] * 20), dataset=dataset, **more) for more in (rates, {}, {}))
    edit = service.client.patch
    missing = service.client.get(f"/jobs/{one}/comparison")
    assert (missing.status_code, error_of(missing.json())["code"]) == (404, "no_baseline")
    assert edit(f"/jobs/{project}", json={"baseline": True}).status_code == 200
    found = compared(service, one)
    assert (found["other"], found["is_baseline"]) == (project, True)
    differing = {one["field"]: (one["job"], one["other"]) for one in found["differences"]}
    assert differing["training.learning_rate"][0] == 0.02
    assert {path.partition(".")[0] for path in differing} <= {"training", "adamss"}
    assert found["metrics"] == [{"name": "eval_accuracy", "job": 0.75, "other": 0.75, "difference": 0.0}]
    for job in (one, group):
        edit(f"/jobs/{job}", json={"group": "rates"})
    assert edit(f"/jobs/{group}", json={"baseline": True}).json()["baseline"] is True
    pinned = {job["id"]: job["baseline"] for job in service.client.get("/jobs").json()["data"]}
    assert pinned == {one: False, project: True, group: True}
    assert [service.client.get(f"/jobs/{job}").json()["baseline"] for job in (one, group)] == [False, True]
    assert compared(service, one)["other"] == group
    edit(f"/jobs/{group}", json={"baseline": False})
    assert compared(service, one)["other"] == project
    assert compared(service, one, group)["is_baseline"] is False
