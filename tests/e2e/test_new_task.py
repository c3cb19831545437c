"""A new task is two files and one import: a toy task goes from upload to predict through real API and worker."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from adamss_core.inspection import inspect_model
from adamss_core.spec.tasks import register, unregister
from service.cli.init import commented_spec
from service.shared.settings import Settings
from tests.service.support import MODEL, Service, build_model, error_of, jsonl, running
from tests.toy_task.record import NAME, RECORDS
from tests.worker.support import wait_until

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "tests" / "toy_task" / "site"
WORDS = ("good", "bad", "film", "plot")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose processes all know the toy task."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SITE), str(ROOT)]))
    settings = Settings(home=tmp_path / "home", predict_timeout_seconds=240.0)
    build_model(settings.files.models / MODEL)
    register(RECORDS)
    try:
        with running(settings, inspect_model(settings.files.models / MODEL)) as service:
            yield service
    finally:
        unregister(NAME)


@pytest.fixture
def worker(service: Service) -> Iterator[None]:
    log = service.settings.resolved_home / "worker.log"
    environment = os.environ | {"ADAMSS_HOME": str(service.settings.resolved_home)}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "worker.main"], env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rows(count: int) -> str:
    return jsonl(*({"text": " ".join(WORDS[: n % 4 + 1])} for n in range(count)))


def test_a_toy_task_from_upload_to_predict(service: Service, worker: None) -> None:
    assert NAME in [task["name"] for task in get(service, "/tasks")["data"]]
    assert (
        NAME
        in service.client.get("/openapi.json").json()["components"]["schemas"]["JobSpec"]["properties"]["task"]["enum"]
    )
    assert f"task: {NAME}" in commented_spec(NAME)
    train = service.upload(rows(80), "rows.jsonl")["id"]
    wrong = service.refused(task=NAME, dataset={"train": service.upload(rows(81), "odd.jsonl")["id"]})
    assert (wrong["code"], wrong["param"]) == ("odd_rows", "dataset.train")
    assert "belongs to" in service.refused(task=NAME, dataset={"train": train, "label": "other"})["message"]
    job = service.submit(task=NAME, dataset={"train": train}, training={"batch_size": 8})
    assert job["resolved"]["spec"]["training"]["metric_for_best"] == "mean_error"
    assert job["resolved"]["spec"]["training"]["learning_rate"] == 0.02
    wait_until(lambda: get(service, f"/jobs/{job['id']}")["status"] in ("succeeded", "failed"), seconds=180)
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


def get(service: Service, path: str) -> Any:
    response = service.client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def post(service: Service, path: str, body: Any) -> Any:
    response = service.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()
