"""Evaluate the published model once more, in full: predictions, scores beside a baseline, and what a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from torch import Tensor

from adamss_core.training.batches import Encoded
from adamss_core.training.causes import Evidence, count_answers, count_classes, find_causes
from adamss_core.training.data import Rows
from adamss_core.training.evaluation import predict
from adamss_core.training.illustration import illustrate
from adamss_core.training.judgement import Judge, Judgement
from adamss_core.training.progress import Progress
from adamss_core.training.setup import Setup
from adamss_core.training.tasks.base import Answered, Baseline, Predictions

NO_BETTER = "no_better_than_baseline"
Report = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Rows that are evaluated.

    Attributes:
        data: the data set that they are from: train (a share was held out), eval or test.
    """

    data: str
    rows: Rows
    examples: Encoded


@dataclass(frozen=True)
class FinalEvaluation:
    """Evaluation of the published model.

    Attributes:
        result: to be added to the run's result.
        reports: one for the held-out rows, one for the test rows if there are any; none where that failed.
        losses: (n,) of the held-out rows.
    """

    result: dict[str, Any]
    reports: list[Report] = field(default_factory=list)
    losses: Tensor | None = None


UNKNOWN = FinalEvaluation({"baseline": None, "judgement": None, "warnings": []})


def evaluate_published(setup: Setup, model: PeftModel, progress: Progress) -> FinalEvaluation:
    """Evaluate the published model, and warn where it is no better than its baseline; every process must call this."""
    found: FinalEvaluation = illustrate(
        setup.reporter,
        "The finished model is not evaluated in full",
        lambda: _evaluate(setup, model.to(setup.accelerator.device), progress),
        UNKNOWN,
        processes=setup.accelerator.num_processes,
    )
    model.to("cpu")
    return found


def _evaluate(setup: Setup, model: PeftModel, progress: Progress) -> FinalEvaluation:
    part = Part(setup.data.held_out["from"], setup.data.evaluation, setup.evaluation)
    report, losses = _report(setup, model, part, progress)
    result = {name: report[name] for name in ("baseline", "judgement", "warnings")}
    reports = [report]
    if (test := _test_report(setup, model, progress)) is not None:
        reports.append(test)
        result |= {f"test_{name}": value for name, value in test["metrics"].items()} | {"test_rows": test["rows"]}
        result["warnings"] = [*report["warnings"], *test["warnings"]]
    return FinalEvaluation(result, reports, losses)


def _test_report(setup: Setup, model: PeftModel, progress: Progress) -> Report | None:
    """Evaluate the test rows, if there are any: once, as this is the published model."""
    if setup.data.test is None or setup.test is None:
        return None
    part = Part("test", setup.data.test, setup.test)
    return illustrate(
        setup.reporter,
        "The finished model is not evaluated on the test data",
        lambda: _report(setup, model, part, progress)[0],
        None,
        processes=setup.accelerator.num_processes,
    )


def _report(setup: Setup, model: PeftModel, part: Part, progress: Progress) -> tuple[Report, Tensor]:
    """Return the report on these rows, and the loss of each, (n,)."""
    training = setup.training
    metric = setup.task.record.metric(training.metric_for_best)
    terms, numbers = part.examples.loss_terms, part.rows.numbers
    judge = Judge(setup.task, metric, setup.data.classes, terms, numbers, training.seed)
    predictions = _predictions(setup, model, part, progress.micro_batch)
    report = {"data": part.data, "rows": part.rows.row_count, "metrics": judge.scores(predictions)}
    report |= illustrate(
        setup.reporter,
        "The metrics have no baseline beside them",
        lambda: _judged(setup, model, part, judge, predictions, progress.micro_batch),
        {"baseline": None, "judgement": None},
        processes=setup.accelerator.num_processes,
    )
    if setup.accelerator.is_main_process:
        answered = Answered(
            rows=part.rows,
            predictions=predictions,
            classes=setup.data.classes,
            model=model.eval(),
            processor=setup.processor,
            limit=setup.limit,
        )
        lost = "The evaluation has no details beside the metrics"
        details: Report = illustrate(setup.reporter, lost, lambda: setup.task.evaluation(answered), {})
        report |= details
    return report | {"warnings": _warnings(setup, progress, report)}, predictions["losses"]


def _judged(
    setup: Setup, model: PeftModel, part: Part, judge: Judge, predictions: Predictions, batch_size: int
) -> dict[str, Any]:
    """Return the baseline's scores and the judgement of the model beside it."""
    baseline = setup.task.baseline(setup.train, part.examples, setup.data.classes)
    if baseline is None:
        with model.disable_adapter():
            baseline = Baseline("what the base model does", _predictions(setup, model, part, batch_size))
    return {
        "baseline": {"predicts": baseline.predicts, **judge.scores(baseline.predictions)},
        "judgement": judge(predictions, baseline).export(),
    }


def _predictions(setup: Setup, model: PeftModel, part: Part, batch_size: int) -> Predictions:
    return predict(
        model,
        setup.task,
        part.examples,
        setup.collate,
        batch_size,
        setup.accelerator,
        setup.reporter.stop_requested,
    )


def _warnings(setup: Setup, progress: Progress, report: Report) -> list[dict[str, Any]]:
    """Report that the model is no better than its baseline, with the causes that the run's numbers show."""
    if report["judgement"] is None or not report["judgement"]["no_better"]:
        return []
    judgement = Judgement(**report["judgement"])
    evidence = Evidence(
        spec=setup.plan.spec,
        progress=progress,
        judgement=judgement,
        classes=count_classes(setup.plan.spec, setup.data.train),
        rows=len(setup.train),
        answers=count_answers(report),
        eval_loss=report["metrics"]["loss"],
    )
    causes = find_causes(evidence)
    shown = " ".join(cause["message"] for cause in causes) or "This run's numbers show no cause."
    message = f"The model may only guess: {judgement.sentence()}. {shown}"
    facts = {"data": report["data"], "causes": causes}
    setup.reporter.event(NO_BETTER, message, facts | {"judgement": report["judgement"]})
    return [{"code": NO_BETTER, "message": message, **facts}]
