"""Evaluate the published model once more, in full: predictions, scores beside a baseline, and what a report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from torch import Tensor

from adamss_core.training.batches import Encoded
from adamss_core.training.causes import Evidence, count_answers, count_classes, find_causes
from adamss_core.training.data import Rows
from adamss_core.training.errors import is_out_of_memory
from adamss_core.training.evaluation import predict
from adamss_core.training.judgement import Judge, Judgement
from adamss_core.training.progress import Progress
from adamss_core.training.setup import Setup
from adamss_core.training.tasks.base import Baseline, Predictions

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
        reports: one for the held-out rows; none where they could not be evaluated.
        losses: (n,) of the held-out rows.
    """

    result: dict[str, Any] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    losses: Tensor | None = None


def evaluate_published(setup: Setup, model: PeftModel, progress: Progress) -> FinalEvaluation:
    """Evaluate the published model, and warn where it is no better than its baseline; every process must call this.

    A lack of memory must not cost the trained model: it leaves the reports out, with a warning.
    """
    part = Part(setup.data.held_out["from"], setup.data.evaluation, setup.evaluation)
    try:
        report, judgement, losses = _evaluated(setup, model.to(setup.accelerator.device), part, progress.micro_batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        setup.reporter.event("warning", "The finished model is not compared with a baseline: memory ran out.", {})
        return FinalEvaluation()
    finally:
        model.to("cpu")
    result: dict[str, Any] = {"baseline": report["baseline"], "judgement": report["judgement"], "warnings": []}
    if judgement.no_better:
        result["warnings"].append(_warning(setup, progress, report, judgement))
    return FinalEvaluation(result, [report], losses)


def _evaluated(setup: Setup, model: PeftModel, part: Part, batch_size: int) -> tuple[Report, Judgement, Tensor]:
    classes = setup.data.classes
    judge = Judge(
        setup.task,
        setup.task.record.metric(setup.training.metric_for_best),
        classes,
        part.examples.loss_terms,
        setup.training.seed,
    )
    predictions = _predictions(setup, model, part, batch_size)
    baseline = setup.task.baseline(setup.train, part.examples, classes)
    if baseline is None:
        with model.disable_adapter():
            baseline = Baseline("what the base model does", _predictions(setup, model, part, batch_size))
    judgement = judge(predictions, baseline)
    report = {
        "data": part.data,
        "rows": len(part.rows),
        "metrics": judge.scores(predictions),
        "baseline": {"predicts": baseline.predicts, **judge.scores(baseline.predictions)},
        "judgement": judgement.export(),
    }
    return report, judgement, predictions["losses"]


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


def _warning(setup: Setup, progress: Progress, report: Report, judgement: Judgement) -> dict[str, Any]:
    """Report that the model is no better than its baseline, with the causes that the run's numbers show."""
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
    setup.reporter.event(
        NO_BETTER, message, {"data": report["data"], "judgement": judgement.export(), "causes": causes}
    )
    return {"code": NO_BETTER, "message": message, "data": report["data"], "causes": causes}
