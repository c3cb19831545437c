"""What `adamss sweep` and `adamss sweeps` send and print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import sweeps
from service.cli.app import app
from service.client.types import Listing

TRIAL = {
    "params": {"training.learning_rate": 0.005},
    "error": None,
    "evaluations": [],
    "refusal": None,
    "jobs": ["job_a"],
}
TRIALS = [
    TRIAL | {"number": 1, "state": "stopped", "value": 0.7, "stopped_after": 1, "step": 16},
    TRIAL | {"number": 2, "state": "complete", "value": 0.82, "error": 0.01, "stopped_after": None},
    TRIAL
    | {
        "number": 3,
        "state": "refused",
        "value": None,
        "jobs": [],
        "stopped_after": None,
        "refusal": {"message": "No such column."},
    },
]
SWEEP: dict[str, Any] = {
    "id": "sweep_a",
    "name": "reviews",
    "status": "succeeded",
    "objective": "accuracy",
    "direction": "max",
    "counts": {"stopped": 1, "complete": 1, "refused": 1},
    "best": TRIALS[1],
    "no_best": None,
    "created_at": "2026-11-27T10:00:00Z",
    "trials": TRIALS,
    "device_seconds": 125.0,
}


class Answers:
    """A client that knows one sweep and remembers what it is sent."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    def sweep(self, **wanted: Any) -> Any:
        self.sent = wanted
        return SWEEP

    def dry_run_sweep(self, **wanted: Any) -> Any:
        plan = {"trials": 2, "jobs": 2, "refused": 1, "seconds": 60.0, "planned": TRIALS, "warnings": ["None stops."]}
        return SWEEP | plan

    def list_sweeps(self, limit: int) -> Any:
        return Listing([SWEEP], 1)

    def get_sweep(self, sweep: str) -> Any:
        return SWEEP

    def sweep_importance(self, sweep: str) -> Any:
        return {"importance": {"training.learning_rate": 0.9}, "trials": 2}

    def pause_sweep(self, sweep: str) -> Any:
        return SWEEP | {"status": "paused"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    known = Answers()

    @contextmanager
    def connect() -> Iterator[Any]:
        yield known

    monkeypatch.setattr(sweeps, "connect", connect)
    return known


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


def test_a_job_spec_is_swept_with_the_options(answers: Answers, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: reviews\nbase_model: minilm\n")
    assert (
        run("sweep", str(path), "--dataset", "ds_a", "--space", "thorough", "--trials", "6", "--seed", "1").strip()
        == "sweep_a"
    )
    spec = {"name": "reviews", "base_model": "minilm", "dataset": {"train": "ds_a"}}
    assert answers.sent == {"spec": spec, "space": "thorough", "trials": 6, "seeds": [1]}


def test_a_file_may_hold_the_whole_sweep(answers: Answers, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("spec: {name: reviews}\nspace: {adamss.r: {values: [50, 100]}}\nkeep: 2\n")
    run("sweep", str(path), "--parallel", "4")
    space = {"adamss.r": {"values": [50, 100]}}
    assert answers.sent == {"spec": {"name": "reviews"}, "space": space, "keep": 2, "parallel": 4}


def test_show_puts_the_best_first_and_says_what_mattered(answers: Answers) -> None:
    lines = run("sweeps", "show", "sweep_a").splitlines()
    assert "best         0.82 ± 0.01 (trial 2: training.learning_rate=0.005)" in lines
    assert [line.split("\t")[:3] for line in lines if "\t" in line] == [
        ["2", "complete", "0.82 ± 0.01"],
        ["1", "stopped at step 16, by evaluation 1", "0.7"],
        ["3", "refused", "-"],
    ]
    assert lines[-1] == "Importance: training.learning_rate 90%"


def test_show_says_why_no_trial_is_the_best(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SWEEP, "best", None)
    monkeypatch.setitem(SWEEP, "no_best", "No trial is the best: pearson was undefined.")
    assert "No trial is the best: pearson was undefined." in run("sweeps", "show", "sweep_a")


def test_list_pause_and_dry_run(answers: Answers, tmp_path: Path) -> None:
    assert run("sweeps", "list").startswith("sweep_a\treviews\tsucceeded\t1 stopped, 1 complete, 1 refused\t0.82")
    assert run("sweeps", "pause", "sweep_a").startswith("sweep_a is paused")
    path = tmp_path / "spec.yaml"
    path.write_text("name: reviews\n")
    shown = run("sweep", str(path), "--dry-run")
    assert "No such column." in shown
    assert "warning: None stops." in shown
