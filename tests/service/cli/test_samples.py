"""What `adamss jobs` prints of a job that writes texts."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app, jobs, results
from tests.service.cli.test_job_view import job


class Client:
    """Answers with one finished text generation job."""

    def get_job(self, _: str) -> dict[str, Any]:
        result = {"eval_loss": 0.7, "before_training": {"eval_loss": 5.512345, "eval_perplexity": None}}
        return {**job(status="succeeded", result=result, best_metric={"name": "loss", "direction": "min"})}

    def events(self, _: str) -> list[dict[str, Any]]:
        told = [(0, "So it\nwas."), (6, "It is."), (12, "It is blue.")]
        return [
            {"seq": 1, "type": "training_started", "message": "…", "data": {}},
            *({"seq": step + 2, "type": "samples", "message": "…", "data": samples(step, text)} for step, text in told),
        ]

    def phases(self, _: str) -> list[dict[str, Any]]:
        return []

    def retention(self, _: str) -> dict[str, str | None]:
        return {}


def samples(step: int, text: str) -> dict[str, Any]:
    sample = {"row": 7, "prompt": "What colour\nis it?", "expected": "It is blue.", "completion": text}
    return {"step": step, "samples": [sample]}


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jobs, results):
        monkeypatch.setattr(module, "connect", lambda: nullcontext(Client()))


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app.app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_show_has_the_evaluation_before_training() -> None:
    lines = [line.split(maxsplit=1) for line in printed("jobs", "show", "job_abc").splitlines()]
    assert ["before", "training  eval_loss 5.5123"] in lines


def test_samples_stand_beside_those_before_training() -> None:
    assert printed("jobs", "samples", "job_abc") == "7\tWhat colour is it?\tIt is blue.\tSo it was.\tIt is blue.\n"
    told = json.loads(printed("jobs", "samples", "job_abc", "--json"))
    assert [data["step"] for data in told] == [0, 6, 12]


def test_samples_of_one_evaluation_are_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "events", lambda *_: [event(0), event(0)])
    assert printed("jobs", "samples", "job_abc").count("\t") == 3
    monkeypatch.setattr(Client, "events", lambda *_: [])
    assert printed("jobs", "samples", "job_abc") == ""


def event(step: int) -> dict[str, Any]:
    return {"seq": 1, "type": "samples", "message": "…", "data": samples(step, "So.")}
