"""What `adamss presets` sends and prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import presets
from service.cli.app import app

KIND = {"name": "regression", "task": "text-classification", "own": False, "adamss": {"r": 100}, "training": {}}
OWN: dict[str, Any] = {
    "name": "mine",
    "task": "text-classification",
    "own": True,
    "adamss": {"r": 50},
    "training": {"learning_rate": 0.008},
    "reason": "Fields that were given.",
    "job": None,
    "created_at": "2026-11-27T10:00:00Z",
}


class Answers:
    """A client that knows two presets and remembers what it is sent."""

    def __init__(self) -> None:
        self.sent: tuple[str, dict[str, Any]] | None = None

    def presets(self) -> Any:
        return [KIND, OWN]

    def get_preset(self, name: str) -> Any:
        return OWN

    def save_preset(self, name: str, **wanted: Any) -> Any:
        self.sent = (name, {key: value for key, value in wanted.items() if value})
        return OWN

    def delete_preset(self, name: str) -> None:
        self.sent = (name, {})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    known = Answers()

    @contextmanager
    def connect() -> Iterator[Any]:
        yield known

    monkeypatch.setattr(presets, "connect", connect)
    return known


def run(*arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["presets", *arguments])
    assert found.exit_code == code, found.output
    return found.output


def test_given_values_are_read_as_in_a_spec(answers: Answers) -> None:
    values = ("training.learning_rate=0.008", "adamss.target_modules=[query, value]", "training.max_grad_norm=null")
    run("save", "mine", *(part for value in values for part in ("--set", value)), "--replace")
    fields = {"training.learning_rate": 0.008, "adamss.target_modules": ["query", "value"]}
    assert answers.sent == ("mine", {"fields": fields | {"training.max_grad_norm": None}, "replace": True})
    assert "PATH=VALUE" in run("save", "mine", "--set", "adamss.r", code=2)


def test_a_sweeps_trial_is_saved(answers: Answers) -> None:
    shown = run("save", "mine", "--sweep", "sweep_a", "--trial", "3")
    assert answers.sent == ("mine", {"sweep": "sweep_a", "trial": 3})
    assert "training.learning_rate  0.008" in shown


def test_the_projects_own_come_first(answers: Answers) -> None:
    rows = [line.split("\t")[:3] for line in run("list").splitlines()]
    assert rows == [
        ["mine", "text-classification", "r=50, learning_rate=0.008"],
        ["regression", "text-classification", "r=100"],
    ]
    assert run("delete", "mine").strip() == "Deleted the preset mine."


def test_a_value_that_is_no_yaml_is_a_text(answers: Answers) -> None:
    """Seen to fail: with `yaml.safe_load` alone, a traceback."""
    run("save", "mine", "--set", "adamss.target_modules=*_proj")
    assert answers.sent == ("mine", {"fields": {"adamss.target_modules": "*_proj"}})
