"""A new task is two files and one import: a toy task goes from upload to `adamss predict` through API and worker.

As cheap as it can be and still be real: the model is the shared one, one job of two steps leaves one artifact, and API
and supervisor run in the test's own process. The training process and the process that predicts are the two that start.
"""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from adamss_core.spec import facts_format
from adamss_core.spec.facts import TaskFacts
from adamss_core.spec.tasks import register, unregister
from service.cli import predict as cli
from service.cli.init import commented_spec
from service.client import Client
from service.shared.settings import Settings
from tests.processes import ANEW
from tests.service.support import BASE_URL, Service, add_worker, copy_model, error_of, jsonl, running
from tests.toy_task.record import NAME, RECORDS
from worker.device_locks import open_devices
from worker.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "tests" / "toy_task" / "site"
WORDS = ("good", "bad", "film", "plot")
Adamss = Callable[..., str]


@pytest.fixture
def service(
    tmp_path: Path, tiny_model: Path, tiny_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service whose processes all know the toy task, and its facts about the shared model.

    `tests/adamss_core/test_inspection.py` holds that an inspection finds the same for a task that is registered later.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SITE), str(ROOT)]))
    settings = Settings(home=tmp_path / "home", predict_timeout_seconds=240.0)
    copy_model(tiny_model, settings)
    register(RECORDS)
    others = {**tiny_facts["other_tasks"], NAME: {name: tiny_facts[name] for name in TaskFacts.model_fields}}
    tasks = [*tiny_facts["tasks"], NAME]
    facts = {**tiny_facts, "format": facts_format(), "tasks": tasks, "other_tasks": others}
    try:
        with running(settings, facts) as service:
            yield service
    finally:
        unregister(NAME)


@pytest.fixture
def adamss_predict(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Adamss]:
    """The command `adamss predict`, which reaches the service in this process; returns what it prints."""

    def through(request: httpx.Request) -> httpx.Response:
        answer = service.client.request(
            request.method, str(request.url), content=request.content, headers=dict(request.headers)
        )
        kind = {"content-type": answer.headers["content-type"]}
        return httpx.Response(answer.status_code, headers=kind, content=answer.content)

    with Client(BASE_URL, service.client.headers["authorization"].removeprefix("Bearer ")) as client:
        headers = client._http.headers
        client._http.close()
        client._http = httpx.Client(transport=httpx.MockTransport(through), base_url=BASE_URL, headers=headers)

        @contextmanager
        def connect() -> Iterator[Client]:
            yield client

        def run(*arguments: Any, **options: Any) -> str:
            capsys.readouterr()
            cli.predict(*arguments, **options)
            return capsys.readouterr().out

        monkeypatch.setattr(cli, "connect", connect)
        yield run


def rows(count: int) -> str:
    return jsonl(*({"text": " ".join(WORDS[: n % 4 + 1])} for n in range(count)))


@pytest.mark.compat
def test_a_toy_task_from_upload_to_predict(service: Service, adamss_predict: Adamss, tmp_path: Path) -> None:
    assert NAME in [task["name"] for task in get(service, "/tasks")["data"]]
    assert (
        NAME
        in service.client.get("/openapi.json").json()["components"]["schemas"]["JobSpec"]["properties"]["task"]["enum"]
    )
    assert f"task: {NAME}" in commented_spec(NAME)
    train = service.upload(rows(40), "rows.jsonl")["id"]
    wrong = service.refused(task=NAME, dataset={"train": service.upload(rows(41), "odd.jsonl")["id"]})
    assert (wrong["code"], wrong["param"]) == ("odd_rows", "dataset.train")
    assert "belongs to" in service.refused(task=NAME, dataset={"train": train, "label": "other"})["message"]
    short = {"batch_size": 8, "max_steps": 2}
    job = service.submit(task=NAME, dataset={"train": train}, training=short, artifacts=["merged"])
    assert job["resolved"]["spec"]["training"]["metric_for_best"] == "mean_error"
    assert job["resolved"]["spec"]["training"]["learning_rate"] == 0.02
    assert job["best_metric"] == {"name": "mean_error", "direction": "min"}
    with service.db.write() as session:
        add_worker(session)
    Runner(service.settings, service.db, "worker-1", open_devices(service.settings, "worker-1"), ANEW).run(job["id"])
    job = get(service, f"/jobs/{job['id']}")
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["eval_mean_error"] >= 0
    hardest = get(service, f"/jobs/{job['id']}/worst")["data"]
    assert hardest[0]["expected"] in (1, 2, 3, 4)
    assert isinstance(hardest[0]["predicted"], float)
    archive = service.client.get(f"/jobs/{job['id']}/artifacts/merged").content
    card = zipfile.ZipFile(BytesIO(archive)).read("README.md").decode()
    assert "| Mean error in words | " in card

    answer = post(service, f"/jobs/{job['id']}/predict", {"inputs": ["good film", {"text": "bad"}], "seed": 1})
    assert [math.isfinite(one["words"]) for one in answer["data"]] == [True, True]
    refused = service.client.post(f"/jobs/{job['id']}/predict", json={"inputs": ["a"], "temperature": 1})
    assert error_of(refused.json())["param"] == "temperature"

    texts = ["good film", "bad"]
    words = [one["words"] for one in json.loads(adamss_predict(job["id"], texts, as_json=True))]
    lines = [line.split("\t") for line in adamss_predict(job["id"], texts).splitlines()]
    assert lines == [[text, f"{number:.2f}"] for text, number in zip(texts, words, strict=True)]
    (file := tmp_path / "new.jsonl").write_text(jsonl(*({"text": text} for text in texts)))
    printed = adamss_predict(job["id"], file=file, as_csv=Path("-")).splitlines()
    assert [row["predicted_number_of_words"] for row in csv.DictReader(printed)] == [line[1] for line in lines]


def get(service: Service, path: str) -> Any:
    response = service.client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def post(service: Service, path: str, body: Any) -> Any:
    response = service.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()
