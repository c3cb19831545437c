"""Lengths of rows in tokens: asked for by the first plan, measured in the background, kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from service.jobs import token_lengths
from service.jobs.token_lengths import MEASURING
from service.shared.database.tables import TokenLengths
from service.shared.processes.ask import Reply
from service.shared.settings import Settings
from tests.service.support import Service, beside_few_rows, copy_model, rows, running
from tests.worker.support import wait_until

MEASURED = {"source": "measured", "counts": [[40, 3], [9, 37]], "limit": 48, "trained": 1.0, "per_row": 1.0}


class Measurements:
    """Answers in the place of the process that measures."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | None = MEASURED
        self.allowed = Event()

    def __call__(self, forkserver: Any, module: str, order: dict[str, Any], folder: Path, **_: Any) -> Reply:
        self.orders.append(json.loads(json.dumps(order)))
        assert self.allowed.wait(30)
        return Reply(self.answer, 0, "")


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> Measurements:
    found = Measurements()
    monkeypatch.setattr(token_lengths, "ask_model_reader", found)
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", length_sample=7)


@pytest.fixture
def service(settings: Settings, tiny_model: Path, tiny_facts: dict[str, Any]) -> Iterator[Service]:
    copy_model(tiny_model, settings)
    with running(settings, tiny_facts) as service:
        yield service


def plan(service: Service, spec: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = service.client.post("/jobs?dry_run=true", json=spec).json()
    return answer


def kept(service: Service) -> int:
    with service.db.read() as session:
        return session.query(TokenLengths).count()


def test_a_plan_asks_for_the_lengths_and_the_next_one_has_them(service: Service, measurements: Measurements) -> None:
    spec = service.spec(training={"batch_size": 4, "max_length": 60})
    for _ in range(2):  # asked for once
        first = plan(service, spec)
        assert MEASURING in first["warnings"]
        assert first["estimate"]["lengths"] == "characters"
        assert first["estimate"]["batch_tokens"] == 4 * 14  # 17 characters: a third, and special tokens
    measurements.allowed.set()
    wait_until(lambda: kept(service) == 1)
    second = plan(service, spec)
    assert MEASURING not in second["warnings"]
    assert (second["estimate"]["lengths"], second["estimate"]["batch_tokens"]) == ("measured", 4 * 40)
    (order,) = measurements.orders
    assert (order["sample"], order["spec"]["dataset"]["train"]) == (7, spec["dataset"]["train"])
    assert Path(order["rows"]).is_file()
    other = service.spec(training={"max_length": 30}, dataset=spec["dataset"])
    assert plan(service, other)["estimate"]["batch_tokens"] == 32 * 30  # cut, and not measured again
    assert len(measurements.orders) == 1


def test_lengths_outlive_the_process(
    settings: Settings, service: Service, tiny_facts: dict[str, Any], measurements: Measurements
) -> None:
    measurements.allowed.set()
    spec = service.spec()
    plan(service, spec)
    wait_until(lambda: kept(service) == 1)
    with running(settings, tiny_facts) as again:
        assert plan(again, spec)["estimate"]["lengths"] == "measured"
    assert len(measurements.orders) == 1


@pytest.mark.parametrize("answer", [None, {"error": {"code": "bad_data", "message": "No."}}])
def test_what_cannot_be_measured_is_not_tried_again(
    service: Service, measurements: Measurements, answer: dict[str, Any] | None
) -> None:
    measurements.answer = answer
    measurements.allowed.set()
    spec = service.spec()
    plan(service, spec)
    wait_until(lambda: MEASURING not in plan(service, spec)["warnings"])
    assert plan(service, spec)["estimate"]["lengths"] == "characters"
    assert len(measurements.orders) == 1


def test_measuring_can_be_turned_off(
    tmp_path: Path, tiny_model: Path, tiny_facts: dict[str, Any], measurements: Measurements
) -> None:
    settings = Settings(home=tmp_path / "home", length_sample=0)
    copy_model(tiny_model, settings)
    with running(settings, tiny_facts) as service:
        found = plan(service, service.spec(training={"max_length": 64}))
    assert (beside_few_rows(found["warnings"]), found["estimate"]["lengths"], measurements.orders) == (
        [],
        "characters",
        [],
    )


def test_columns_are_measured_apart(service: Service, measurements: Measurements) -> None:
    measurements.allowed.set()
    dataset = {"train": service.upload("text,other,label\n" + "a,b c,x\na,b,y\n" * 9)["id"]}
    for column in ("text", "other"):
        plan(service, service.spec(dataset={**dataset, "text": column}))
    wait_until(lambda: kept(service) == 2)


@pytest.mark.compat
def test_a_real_process_measures(service: Service) -> None:
    spec = service.spec(dataset={"train": service.upload(rows(30))["id"]})
    plan(service, spec)
    wait_until(lambda: kept(service) == 1)
    found = plan(service, spec)["estimate"]
    assert (found["lengths"], found["batch_tokens"]) == ("measured", 32 * 5)
