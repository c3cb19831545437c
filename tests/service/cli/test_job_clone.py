"""What `adamss jobs clone` submits and prints."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from service.cli import app, job_clone, jobs
from service.cli.output import CliError
from tests.service.cli.test_job_view import job

SPEC: dict[str, Any] = {
    "name": "reviews",
    "base_model": "minilm",
    "dataset": {"train": "ds_a", "text": "text"},
    "training": {"epochs": 2, "max_grad_norm": None},
}


class Client:
    """A client that knows one job, and remembers what it is sent."""

    def __init__(self) -> None:
        self.job: Any = job(spec=SPEC)
        self.sent: list[dict[str, Any]] = []

    def get_job(self, _: str) -> Any:
        return self.job

    def submit(self, spec: dict[str, Any]) -> Any:
        self.sent.append(spec)
        return job(id="job_new")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    known = Client()
    for module in (job_clone, jobs):
        monkeypatch.setattr(module, "connect", lambda: nullcontext(known))
    return known


def ran(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, ["jobs", "clone", "job_abc", *arguments])


def test_clone_submits_the_spec_with_changes(client: Client) -> None:
    changes = ("--set", "training.epochs=3", "--set", "adamss.target_modules=[query, value]", "--name", "again")
    assert ran(*changes, "--dataset", "ds_b").stdout == "job_new\n"
    training = SPEC["training"] | {"epochs": 3}  # what the job did not clip, its clone does not
    adamss = {"target_modules": ["query", "value"]}
    dataset = {"train": "ds_b", "text": "text"}
    assert client.sent == [SPEC | {"name": "again", "training": training, "adamss": adamss, "dataset": dataset}]
    assert SPEC["training"]["epochs"] == 2


def test_an_empty_value_takes_the_default_and_null_is_a_value(client: Client) -> None:
    ran("--set", "training.epochs=", "--set", "training.seed=null")
    assert client.sent[0]["training"] == {"max_grad_norm": None, "seed": None}


def test_a_pattern_that_is_no_yaml_is_a_text() -> None:
    assert job_clone.changed({}, ["adamss.target_modules=*[qv]_proj"], None)["adamss"]["target_modules"] == "*[qv]_proj"


def test_the_spec_is_printed_to_be_edited(client: Client) -> None:
    assert yaml.safe_load(ran("--spec", "--set", "training.epochs=9").stdout)["training"]["epochs"] == 9
    assert client.sent == []


@pytest.mark.parametrize("change", ["training.epochs", "=3", "training.=3", ".epochs=3", "name.first=a"])
def test_a_change_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(CliError, match="--set"):
        job_clone.changed(SPEC, [change], None)


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        (
            {"evaluates": {"job": "job_1", "model": "base", "dataset": "ds_c"}},
            "jobs evaluate job_1 --dataset ds_c --model base",
        ),
        ({"inspects": {"model": "minilm", "dataset": "ds_c"}}, "adamss inspect minilm"),
    ],
)
def test_a_job_that_trains_nothing_names_its_own_command(made: dict[str, Any], remedy: str) -> None:
    with pytest.raises(CliError, match=remedy):
        job_clone.spec_of(job(**made))
