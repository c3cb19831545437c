"""Models beside their baselines: what is judged to guess, and the causes that the numbers show."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adamss_core.spec import plan_steps
from adamss_core.training.batches import Encoded
from adamss_core.training.causes import Evidence, find_causes
from adamss_core.training.judgement import Judge, Judgement
from adamss_core.training.progress import Progress
from adamss_core.training.row_doubts import MeasuredClasses, doubt_rows
from adamss_core.training.run import run
from adamss_core.training.tasks import task_of
from adamss_core.training.tasks.base import Baseline
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request, texts
from tests.adamss_core.training.tasks.support import task_job

TEXTS = "text-classification"
NO_CLASSES = MeasuredClasses([], [], [])


def encoded(targets: Any) -> Encoded:
    ones = torch.ones(len(targets), dtype=torch.int64)
    return Encoded([{}] * len(targets), targets, ones, ones)


def judged(spec: Any, metric: str, train: Any, held_out: Any, classes: list[str], predictions: Any) -> Judgement:
    task = task_of(spec)
    data = encoded(held_out)
    baseline = task.baseline(encoded(train), data, classes)
    assert baseline is not None
    numbers = list(range(len(data)))
    return Judge(task, task.record.metric(metric), classes, data.loss_terms, numbers, 0)(predictions, baseline)


def answered(answers: list[int], targets: Tensor, loss: float = 0.5) -> dict[str, Tensor]:
    logits = torch.nn.functional.one_hot(torch.tensor(answers), 2).float()
    return {"logits": logits, "targets": targets, "losses": torch.full((len(targets),), loss)}


@pytest.mark.parametrize(
    ("right", "rows", "no_better"),
    [
        (12, 20, True),
        (15, 20, True),
        (19, 20, False),
        (1_300, 2_000, False),
        (1_230, 2_000, True),
        (2, 2, True),
        (1, 1, True),
    ],
)
def test_an_accuracy_has_wilsons_interval(right: int, rows: int, no_better: bool) -> None:
    """Always the larger class is right on 60 % of the rows."""
    targets = torch.tensor([0 if i < 0.6 * rows else 1 for i in range(rows)])
    answers = [int(target) if i < right else 1 - int(target) for i, target in enumerate(targets)]
    found = judged(
        task_job(TEXTS), "accuracy", torch.tensor([0] * 6 + [1] * 4), targets, ["a", "b"], answered(answers, targets)
    )
    assert found.value == pytest.approx(right / rows)
    assert (found.method, found.predicts) == ("Wilson", 'always "a"')
    assert found.no_better is no_better


@pytest.mark.parametrize(
    ("metric", "loss", "no_better"),
    [
        ("loss", 0.69, False),  # better on each row, if by little
        ("loss", 0.6932, True),
        ("loss", float("nan"), True),
        ("macro_f1", 9.0, False),
        ("matthews", 9.0, False),
    ],
)
def test_other_metrics_are_drawn_beside_the_baseline(metric: str, loss: float, no_better: bool) -> None:
    targets = torch.tensor([0, 1] * 50)
    answers = [int(target) if i % 10 else 1 - int(target) for i, target in enumerate(targets)]
    predictions = answered(answers, targets, loss)
    found = judged(task_job(TEXTS), metric, torch.tensor([0, 1] * 9), targets, ["a", "b"], predictions)
    assert found.baseline == pytest.approx({"loss": 0.6931, "macro_f1": 1 / 3, "matthews": 0.0}[metric], abs=1e-4)
    assert found.method == (None if metric == "loss" else "paired bootstrap")  # all rows have one loss
    assert found.no_better is no_better


@pytest.mark.parametrize(("rows", "no_better"), [(1, True), (19, True), (20, False)])
@pytest.mark.parametrize("metric", ["loss", "macro_f1"])
def test_rows_that_score_alike_have_no_interval_and_few_of_them_no_verdict(
    metric: str, rows: int, no_better: bool
) -> None:
    targets = torch.zeros(rows, dtype=torch.int64)
    predictions = answered([0] * rows, targets, loss=0.1)
    found = judged(task_job(TEXTS), metric, torch.tensor([1, 1, 0]), targets, ["a", "b"], predictions)
    assert (found.low, found.high, found.method, found.no_better) == (None, None, None, no_better)


@pytest.mark.parametrize(("rows", "said"), [(1, "Only 1 row is"), (19, "Only 19 rows are"), (20, None)])
def test_few_rows_are_doubted_however_good_the_result(rows: int, said: str | None) -> None:
    recorder = Recorder()
    found = doubt_rows({"data": "eval", "rows": rows}, recorder, NO_CLASSES)
    assert [(warning["code"], warning["data"]) for warning in found] == [("few_held_out_rows", "eval")] * bool(said)
    assert recorder.event_types() == ["few_held_out_rows"] * bool(said)
    for warning in found:
        assert warning["message"].startswith(f"{said} evaluated")
        assert warning["message"].endswith("Name a data set with more rows as dataset.eval.")
    for warning in doubt_rows({"data": "test", "rows": rows}, recorder, NO_CLASSES, "dataset"):
        assert warning["message"].endswith("as dataset.")


@pytest.mark.parametrize("metric", ["loss", "macro_f1"])
def test_an_interval_keeps_to_the_range_of_its_metric(metric: str) -> None:
    """Differences to a baseline that varies reach below zero."""
    targets = torch.tensor([0, 1] * 5)
    losses = torch.tensor([0.0] * 9 + [0.7])
    predictions = answered([1] * 9 + [0], targets) | {"losses": losses}
    baseline = Baseline("much", answered([0, 1, 1, 0] * 2 + [0, 0], targets) | {"losses": torch.arange(10.0)})
    task = task_of(task_job(TEXTS))
    loss_terms = torch.ones(10, dtype=torch.int64)
    found = Judge(task, task.record.metric(metric), ["a", "b"], loss_terms, list(range(10)), 0)(predictions, baseline)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < found.high


def test_classes_of_one_side_and_unknown_labels_are_doubted() -> None:
    classes = MeasuredClasses("abc", "ab", "bc", "who", "2 evaluation rows are left out.")
    recorder = Recorder()
    found = {one["code"]: one["message"] for one in doubt_rows({"data": "train", "rows": 20}, recorder, classes)}
    assert list(found) == ["classes_not_evaluated", "classes_not_trained_on", "unknown_labels"]
    assert found["classes_not_evaluated"].startswith("No row of 'a' is evaluated, so the result says nothing of it.")
    assert "No row of 'c' is trained on" in found["classes_not_trained_on"]
    assert "name another column as dataset.group" in found["classes_not_trained_on"]
    assert recorder.event_types() == ["classes_not_evaluated", "classes_not_trained_on"]


def test_classes_by_chance_are_no_better_by_any_metric() -> None:
    source = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (100,), generator=source)
    answers = torch.randint(0, 2, (100,), generator=source).tolist()
    for metric in ("accuracy", "matthews"):
        found = judged(
            task_job(TEXTS), metric, torch.tensor([0, 1] * 9), targets, ["a", "b"], answered(answers, targets)
        )
        assert found.no_better, metric


@pytest.mark.parametrize(("noise", "no_better"), [(0.1, False), (30.0, True)])
@pytest.mark.parametrize("metric", ["pearson", "spearman", "loss"])
def test_numbers_beside_the_mean(metric: str, noise: float, no_better: bool) -> None:
    source = torch.Generator().manual_seed(0)
    targets = torch.randn(50, generator=source)
    given = targets + noise * torch.randn(50, generator=source)
    predictions = {"logits": given[:, None], "targets": targets, "losses": (given - targets) ** 2}
    spec = task_job(TEXTS, problem_type="regression")
    found = judged(spec, metric, torch.zeros(9), targets, [], predictions)
    assert (found.predicts, found.no_better) == ("always 0", no_better)
    if metric != "loss":
        assert found.baseline == 0.0


def test_examples_of_one_row_are_drawn_together() -> None:
    """Four copies of each row tell no more than the row."""
    task = task_of(task_job(TEXTS))
    targets = torch.tensor([0, 1] * 40)
    losses = torch.rand(80, generator=torch.Generator().manual_seed(0))
    found = []
    for copies in (1, 4):
        data = encoded(targets.repeat_interleave(copies))
        predictions = answered([0] * 80 * copies, data.targets) | {"losses": losses.repeat_interleave(copies)}
        baseline = task.baseline(encoded(targets), data, ["a", "b"])
        assert baseline is not None
        numbers = [row for row in range(80) for _ in range(copies)]
        judge = Judge(task, task.record.metric("loss"), ["a", "b"], data.loss_terms, numbers, 0)
        found.append(judge(predictions, baseline))
    assert [judgement.rows for judgement in found] == [80, 80]
    assert [found[0].low, found[0].high] == pytest.approx([found[1].low, found[1].high])


def test_equal_numbers_are_no_better() -> None:
    targets = torch.arange(20.0)
    predictions = {"logits": torch.ones(20, 1), "targets": targets, "losses": (targets - 1) ** 2}
    found = judged(task_job(TEXTS, problem_type="regression"), "pearson", targets, targets, [], predictions)
    assert (found.value, found.low, found.no_better) == (None, None, True)
    assert "pearson is undefined on 20 rows" in found.sentence()


def test_sets_of_classes_and_tags() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]] * 20)
    right = {"logits": targets * 2 - 1, "targets": targets, "losses": torch.full((60,), 0.1)}
    spec = task_job(TEXTS, problem_type="multi_label_classification")
    found = judged(spec, "micro_f1", targets, targets, ["a", "b"], right)
    assert (found.value, found.predicts, found.no_better) == (1.0, 'always "a", "b"', False)
    assert judged(spec, "loss", targets, targets, ["a", "b"], right).baseline == pytest.approx(0.6365, abs=1e-4)

    tags = torch.tensor([[1, 2, 0], [0, 1, 0]] * 20)
    rows = [row.numpy() for row in tags]
    given = {"tags": tags, "targets": tags, "losses": torch.full((40,), 0.1)}
    tagging = task_job("token-classification")
    for metric, baseline in (("f1", 0.0), ("accuracy", 0.5)):
        found = judged(tagging, metric, rows, rows, ["O", "B-X", "I-X"], given)
        assert (found.baseline, found.no_better, found.predicts) == (baseline, False, 'always "O"')


def test_tasks_without_a_scorer_of_their_own_repeat_rows() -> None:
    from tests.toy_task.training import TextLength

    predictions = {"words": torch.tensor([1.0, 2.0]), "targets": torch.tensor([1.0, 4.0])}
    task = TextLength.__new__(TextLength)
    assert task.scorer(predictions, [])(torch.tensor([3, 1]).numpy()) == {"mean_error": 0.5}


# --- causes -----------------------------------------------------------------------------------------------------------


def evidence(**changes: Any) -> Evidence:
    """Of a run in order."""
    judgement = Judgement("accuracy", 0.6, 0.6, 'always "a"', 0.5, 0.7, 0.95, "Wilson", 400, True)
    progress = Progress(micro_batch=8, step=200, logged=2, first_losses=[0.9, 0.4], last_losses=[0.9, 0.4])
    spec = plan_steps(job(training={"learning_rate": 0.01}), 200).spec
    known = Evidence(spec, progress, judgement, Counter(a=120, b=80), 200, {"a": 10, "b": 8}, 0.5)
    return replace(known, **changes)


def losses(first: float, last: float, step: int = 200) -> Progress:
    return Progress(micro_batch=8, step=step, logged=2, first_losses=[first, last], last_losses=[first, last])


def test_a_run_in_order_shows_no_cause() -> None:
    assert find_causes(evidence()) == []


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"progress": losses(0.69, 0.68)}, "flat_loss", "The training loss hardly changed: from 0.69 to 0.68."),
        ({"progress": losses(0.5, 0.9)}, "flat_loss", "The training loss rose from 0.5 to 0.9."),
        ({"progress": losses(0.9, 0.4, step=12)}, "few_steps", "Only 12 optimizer steps were made."),
        ({"classes": Counter(a=120, b=3, c=77)}, "rare_class", "Classes with few training rows: 'b' 3."),
        ({"classes": Counter(a=190, b=10)}, "large_class", "'a' has 95% of the training rows."),
        ({"answers": {"a": 18, "b": 0}}, "one_answer", "The model answers 'a' each time."),
        ({"progress": losses(0.9, 0.01)}, "learnt_by_heart", "fell to 0.01, but the loss on other rows is 0.5."),
    ],
)
def test_causes_that_numbers_show(changes: dict[str, Any], code: str, message: str) -> None:
    (cause,) = find_causes(evidence(**changes))
    assert cause["code"] == code
    assert message in cause["message"]


@pytest.mark.parametrize(("rate", "side"), [(5e-5, "low"), (0.002, "low"), (0.05, "high"), (0.02, None)])
def test_a_rate_far_from_the_presets_is_a_cause(rate: float, side: str | None) -> None:
    spec = plan_steps(job(training={"learning_rate": rate}), 200).spec
    messages = [cause["message"] for cause in find_causes(evidence(spec=spec))]
    expected = f"training.learning_rate is {side}: {rate:g}, against 0.01 of the preset text-classification."
    assert messages == ([] if side is None else [expected])


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_by_chance_end_with_a_warning(model: Path, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": "ab"[i % 5 > 1]} for i, row in enumerate(texts(120))]
    recorder = Recorder()
    outcome = run(
        request(model, tmp_path, rows, spec=job(adamss={"use_asa": False}, training={"max_steps": 4})), recorder
    )
    warning, few = outcome.result["warnings"]
    assert (warning["code"], few["code"]) == ("no_better_than_baseline", "few_held_out_rows")
    codes = {cause["code"] for cause in warning["causes"]}
    assert {"few_steps", "few_held_out_rows"} <= codes
    ((message, data),) = [entry[1:] for entry in recorder.events if entry[0] == "no_better_than_baseline"]
    assert message == warning["message"]
    assert data["causes"] == warning["causes"]
    assert data["judgement"] == outcome.result["judgement"]
    shown = "**Warning.** The model is not shown to be better than the baseline, which the interval contains"
    assert shown in card_of(outcome.artifacts[0].path)


def card_of(artifact: Path) -> str:
    with zipfile.ZipFile(artifact) as archive:
        return archive.read("README.md").decode()


@pytest.mark.slow
def test_a_run_that_learns_has_no_warning(finished: FinishedRun) -> None:
    result = finished.outcome.result
    judgement = result["judgement"]
    assert result["warnings"] == []
    assert "no_better_than_baseline" not in finished.recorder.event_types()
    assert (judgement["metric"], judgement["rows"], judgement["no_better"]) == ("accuracy", 21, False)
    assert judgement["value"] == pytest.approx(result["eval_accuracy"])
    assert judgement["low"] > judgement["baseline"] == pytest.approx(12 / 21)
    assert "95% interval of the accuracy (Wilson): " in card_of(finished.outcome.artifacts[0].path)


@pytest.mark.slow
def test_a_finished_run_has_a_report(finished: FinishedRun) -> None:
    (report,) = finished.outcome.evaluation
    result = finished.outcome.result
    assert (report["data"], report["rows"], report["baseline"]) == ("train", 21, result["baseline"])
    assert report["metrics"]["accuracy"] == pytest.approx(result["eval_accuracy"])
    assert [(entry["name"], entry["expected"]) for entry in report["classes"]] == [("bad", 9), ("good", 12)]
    counts = report["confusion"]["counts"]
    assert sum(map(sum, counts)) == 21
    assert (counts[0][0] + counts[1][1]) / 21 == pytest.approx(result["eval_accuracy"])
    with zipfile.ZipFile(finished.outcome.artifacts[0].path) as archive:
        document = json.loads(archive.read("evaluation.json"))
    rows = report.pop("row_results")
    assert (len(rows["numbers"]), sum(rows["share"]) / 21) == (21, pytest.approx(report["metrics"]["accuracy"]))
    assert (document["format"], document["reports"]) == ("adamss-evaluation", [report]), "single rows are left out"
    assert "evaluation.json" in finished.outcome.artifacts[0].manifest["files"]


def test_a_baseline_has_predictions_of_every_row() -> None:
    task = task_of(task_job(TEXTS))
    baseline = task.baseline(encoded(torch.tensor([0, 0, 1])), encoded(torch.tensor([1, 0])), ["a", "b"])
    assert isinstance(baseline, Baseline)
    torch.testing.assert_close(baseline.predictions["losses"], -torch.tensor([1 / 3, 2 / 3]).log())


def test_row_results_are_those_of_each_row_alone() -> None:
    """Two rows of three are right; the second row has two examples, and its loss is their mean."""
    targets = torch.tensor([0, 1, 1, 0])
    data, numbers = encoded(targets), [4, 7, 7, 9]
    task = task_of(task_job(TEXTS))
    judge = Judge(task, task.record.metric("accuracy"), ["a", "b"], data.loss_terms, numbers, 0)
    predictions = answered([0, 1, 1, 1], targets) | {"losses": torch.tensor([0.1, 0.2, 0.4, float("nan")])}
    found = judge.row_results(predictions)
    assert found == {"numbers": [4, 7, 9], "loss": [0.1, 0.3, None], "metric": "accuracy", "share": [1.0, 1.0, 0.0]}
    many = 5_000
    targets = torch.zeros(many, dtype=torch.int64)
    judge = Judge(task, task.record.metric("accuracy"), ["a", "b"], encoded(targets).loss_terms, list(range(many)), 0)
    kept = judge.row_results(answered([0] * many, targets))
    assert (len(kept["numbers"]), kept["numbers"][-1], set(kept["share"])) == (2_000, many - 1, {1.0})
