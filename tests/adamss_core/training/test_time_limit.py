"""A time limit ends a training with a checkpoint and the best model so far; a larger one resumes it."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adamss_core.training import training_clock
from adamss_core.training.artifacts import CARD
from adamss_core.training.errors import IncompleteRun, Stopped, TrainingError
from adamss_core.training.request import RunResult, Values
from adamss_core.training.run import run
from adamss_core.training.training_clock import TrainingClock
from tests.adamss_core.training.support import Recorder, job, request
from tests.adamss_core.training.test_resume import TIMED, TRAINING, last_files

slow = pytest.mark.slow


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A recorder whose steps take a second each, by the clock of the training."""
    made = Recorder()
    monkeypatch.setattr(training_clock, "monotonic", lambda: float(len(made.steps)))
    return made


def again(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(training_clock, "monotonic", lambda: float(len(made.steps)))
    return made


def ended(model: Path, folder: Path, recorder: Recorder, limit: float, **training: object) -> RunResult:
    spec = job(training=TRAINING | training, time_limit_seconds=limit)
    with pytest.raises(IncompleteRun) as caught:
        run(request(model, folder, spec=spec), recorder)
    assert (caught.value.code, caught.value.deterministic) == ("time_limit", True)
    assert "larger time_limit_seconds" in caught.value.hint
    outcome: RunResult = caught.value.outcome
    return outcome


def goodness(values: Values) -> tuple[float, float]:
    accuracy, loss = values["eval_accuracy"], values["eval_loss"]
    assert accuracy is not None
    assert loss is not None
    return accuracy, -loss


def test_the_clock_counts_all_attempts_and_nothing_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(training_clock, "monotonic", lambda: now[0])
    clock = TrainingClock(10.0)
    assert (clock.seconds, clock.is_over) == (0.0, False)
    now[0] = 500.0  # loading
    clock.begin(earlier=4.0)
    assert (clock.seconds, clock.left, clock.is_over) == (4.0, 6.0, False)
    now[0] += 5.9
    assert not clock.is_over
    now[0] += 0.1
    assert (clock.seconds, clock.left, clock.is_over) == (10.0, 0.0, True)
    assert (TrainingClock(None).left, TrainingClock(None).is_over) == (math.inf, False)


def test_the_smaller_of_both_limits_holds(tmp_path: Path) -> None:
    def limit(mine: float | None, operators: float | None) -> float | None:
        return request(tmp_path, tmp_path, spec=job(time_limit_seconds=mine), operator_limit=operators).time_limit

    assert [limit(5, 9), limit(9, 5), limit(None, 9), limit(5, None), limit(None, None)] == [5, 5, 9, 5, None]


@pytest.mark.parametrize("limit", [0, -1, 0.5, 1e12, "an hour", float("nan")])
def test_an_absurd_limit_is_refused(limit: object) -> None:
    with pytest.raises(ValidationError, match="time_limit_seconds"):
        job(time_limit_seconds=limit)


@slow
def test_at_the_limit_the_best_model_so_far_is_published(model: Path, tmp_path: Path, recorder: Recorder) -> None:
    """At step 25, after the ramp; the evaluation of step 15 is in it, and the last state is evaluated too."""
    outcome = ended(model, tmp_path, recorder, 25, eval_steps=21)
    result = outcome.result
    assert (result["steps"], result["total_steps"], result["time_limit_reached"]) == (25, 30, True)
    assert result["time_used_seconds"] == 25
    evaluations = recorder.of("eval")
    assert list(evaluations) == [21, 25]
    best = max(evaluations, key=lambda step: goodness(evaluations[step]))
    assert result["step"] == best
    assert result["eval_accuracy"] == evaluations[best]["eval_accuracy"]
    assert [row["step"] for row in recorder.checkpoints] == [21, 25]
    [event] = [one for one in recorder.events if one[0] == "time_limit"]
    assert event[2] == {"step": 25, "total_steps": 30, "limit_seconds": 25.0, "seconds": 25.0}
    assert "Pruning" not in event[1]
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter"]
    with zipfile.ZipFile(outcome.artifacts[0].path) as file:
        assert "The job's time limit ended the training after step 25" in file.read(CARD).decode()
        assert json.loads(file.read("manifest.json"))["result"]["time_limit_reached"]


@slow
def test_a_larger_limit_resumes_as_if_there_had_been_none(
    model: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit falls inside the ramp, between evaluations; the second attempt meets one as well."""
    whole = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(training_clock, "monotonic", lambda: float(len(whole.steps)))
        run(request(model, tmp_path / "whole", spec=job(training=TRAINING)), whole)
    outcome = ended(model, tmp_path / "limited", recorder, 13)
    assert outcome.result["eval_accuracy"] is not None
    assert "Pruning had not ended" in next(text for kind, text, _ in recorder.events if kind == "time_limit")
    second = again(monkeypatch)
    assert ended(model, tmp_path / "limited", second, 20).result["time_used_seconds"] == 20
    assert second.resumed_at == [13]
    assert [data["phase"] for kind, _, data in second.events if kind == "phase"][:3] == [
        "loading", "tokenising", "restoring",
    ]  # fmt: skip
    third = again(monkeypatch)
    spec = job(training=TRAINING, time_limit_seconds=31)
    result = run(request(model, tmp_path / "limited", spec=spec), third).result
    assert (third.resumed_at, result["steps"], result["time_limit_reached"]) == ([20], 30, False)
    assert result["time_used_seconds"] == 30
    assert last_files(tmp_path / "limited") == last_files(tmp_path / "whole")
    assert counts(tmp_path / "limited") == counts(tmp_path / "whole")
    parts = [recorder, second, third]
    assert [row for part in parts for row in plain(part, "train")] == plain(whole, "train")
    assert plain(third, "eval") == plain(whole, "eval")[1:]


def counts(folder: Path) -> dict[str, object]:
    """The progress in the last checkpoint, without what depends on the clock."""
    state = json.loads((folder / "checkpoints" / "step-00000030" / "state.json").read_text())
    return {name: value for name, value in state["progress"].items() if not name.endswith("seconds")}


def plain(recorder: Recorder, kind: str) -> list[tuple[int, dict[str, object]]]:
    """The rows of a kind without what depends on the clock."""
    return [
        (step, {name: value for name, value in values.items() if name not in TIMED})
        for step, values in recorder.of(kind).items()
    ]


@slow
def test_an_attempt_that_was_killed_while_publishing_publishes_again(
    model: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopsAfterTraining(Recorder):
        def stop_requested(self) -> bool:
            return "time_limit" in self.event_types()

    first = StopsAfterTraining()
    monkeypatch.setattr(training_clock, "monotonic", lambda: float(len(first.steps)))
    spec = job(training=TRAINING, time_limit_seconds=7)
    with pytest.raises(Stopped):
        run(request(model, tmp_path, spec=spec), first)
    second = again(monkeypatch)
    outcome = ended(model, tmp_path, second, 7)
    assert (second.resumed_at, second.steps, outcome.result["steps"]) == ([7], [], 7)
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter"]


@slow
def test_early_stopping_does_not_count_the_evaluation_at_the_limit(
    model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    training = {"eval_steps": 24, "early_stopping_patience": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9}
    result = ended(model, tmp_path, recorder, 26, **training).result
    assert list(recorder.of("eval")) == [24, 26]
    assert not result["stopped_early"]
    assert "early_stopping" not in recorder.event_types()


@slow
def test_a_limit_before_the_first_step_is_an_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1_000, 10))
    monkeypatch.setattr(training_clock, "monotonic", lambda: float(next(seconds)))
    spec, recorder = job(training=TRAINING, time_limit_seconds=5), Recorder()
    with pytest.raises(TrainingError, match="before the first step") as caught:
        run(request(model, tmp_path, spec=spec), recorder)
    assert not isinstance(caught.value, IncompleteRun)
    assert (caught.value.code, caught.value.where) == ("time_limit", "time_limit_seconds")
    assert (recorder.steps, recorder.checkpoints, recorder.artifacts) == ([], [], [])


@slow
def test_contenders_wait_until_the_job_has_made_its_steps(
    model: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no limit of their own, and what is kept for their sake does not stay behind at the limit."""
    spec: dict[str, Any] = {"training": TRAINING, "compare": ["head"]}
    with pytest.raises(IncompleteRun):
        run(request(model, tmp_path, spec=job(**spec, time_limit_seconds=13)), recorder)
    assert "comparison_started" not in recorder.event_types()
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["adapter.zip"]
    second = again(monkeypatch)
    result = run(request(model, tmp_path, spec=job(**spec, time_limit_seconds=31)), second).result
    assert [(one["contender"], one["steps"]) for one in result["comparison"]["contenders"]] == [
        ("adamss", 30),
        ("head", 30),
    ]
    assert "time_limit" not in second.event_types()
