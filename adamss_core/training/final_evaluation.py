"""Evaluate a run's published model once more, in full, and say what may have gone wrong where it only guesses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from peft import PeftModel

from adamss_core.training.causes import Evidence, count_answers, count_classes, find_causes
from adamss_core.training.evaluator import Evaluated, Evaluator, Part, Report
from adamss_core.training.hardest_examples import hardest_examples
from adamss_core.training.illustration import illustrate
from adamss_core.training.judgement import NO_BETTER, Judgement, doubt
from adamss_core.training.progress import Progress
from adamss_core.training.ranks.sharding import shard_base
from adamss_core.training.row_doubts import MeasuredClasses, doubt_rows
from adamss_core.training.setup import Setup
from adamss_core.training.tasks.base import Predictions


@dataclass(frozen=True)
class FinalEvaluation:
    """Evaluation of the published model.

    Attributes:
        result: to be added to the run's result.
        reports: one for the held-out rows, one for the test rows if there are any; none where that failed.
        hardest: the held-out rows with the highest loss, as `hardest_examples` returns them.
        evaluated: the held-out rows, then the test rows, with all predictions, for contenders to stand beside.
    """

    result: dict[str, Any]
    reports: list[Report] = field(default_factory=list)
    hardest: list[dict[str, Any]] = field(default_factory=list)
    evaluated: list[Evaluated] = field(default_factory=list)


UNKNOWN = FinalEvaluation({"baseline": None, "judgement": None, "warnings": []})


def evaluate_published(
    setup: Setup, model: PeftModel, progress: Progress, predictions: Predictions | None
) -> FinalEvaluation:
    """Evaluate the published model, and warn where its result is in doubt; every process must call this.

    Args:
        predictions: of this model on the held-out rows, where training has made them.
    """
    if setup.divides_base:
        shard_base(model, setup.ranks, setup.accelerator)
    evaluator = Evaluator.of(setup, model, progress.micro_batch)
    found: FinalEvaluation = illustrate(
        setup.reporter,
        "The finished model is not evaluated in full",
        lambda: _evaluate(setup, evaluator, progress, predictions),
        UNKNOWN,
        processes=setup.ranks.size,
    )
    if not setup.divides_base:
        model.to("cpu")
    return found


def _evaluate(
    setup: Setup, evaluator: Evaluator, progress: Progress, predictions: Predictions | None
) -> FinalEvaluation:
    evaluator.model.to(setup.accelerator.device)
    part = Part(setup.data.held_out["from"], setup.data.evaluation, setup.evaluation)
    evaluated = [_evaluated(setup, evaluator, part, progress, predictions)]
    report = evaluated[0].report
    result = {name: report[name] for name in ("baseline", "judgement", "warnings")}
    if (test := _on_test_rows(setup, evaluator, progress)) is not None:
        evaluated.append(test)
        scores = test.report["metrics"]
        result |= {f"test_{name}": value for name, value in scores.items()} | {"test_rows": test.report["rows"]}
        result["warnings"] = [*report["warnings"], *test.report["warnings"]]
    result["warnings"] = [*setup.data.warnings, *result["warnings"]]
    hardest = hardest_examples(evaluator, part, evaluated[0].predictions["losses"])
    return FinalEvaluation(result, [one.report for one in evaluated], hardest, evaluated)


def _on_test_rows(setup: Setup, evaluator: Evaluator, progress: Progress) -> Evaluated | None:
    """Evaluate the test rows, if there are any: once, as this is the published model."""
    if setup.data.test is None or setup.test is None:
        return None
    part = Part("test", setup.data.test, setup.test)
    return illustrate(
        setup.reporter,
        "The finished model is not evaluated on the test data",
        lambda: _evaluated(setup, evaluator, part, progress),
        None,
        processes=setup.ranks.size,
    )


def _evaluated(
    setup: Setup, evaluator: Evaluator, part: Part, progress: Progress, predictions: Predictions | None = None
) -> Evaluated:
    """Evaluate these rows; the report carries its warnings."""
    found = evaluator.evaluate(part, predictions)
    warnings = [
        *_warnings(setup, progress, found.report),
        *doubt_rows(found.report, setup.reporter, _classes(setup, part)),
    ]
    return replace(found, report=found.report | {"warnings": warnings})


def _classes(setup: Setup, part: Part) -> MeasuredClasses:
    spec, data = setup.plan.spec, setup.data
    return MeasuredClasses(
        known=data.classes,
        trained=count_classes(spec, data.train),
        evaluated=count_classes(spec, part.rows),
        group=spec.dataset.group if part.data == "train" else None,
        unknown=data.unknown.get(part.data, ""),
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
    warning = doubt(judgement, report["data"], causes, shown)
    facts = {name: warning[name] for name in ("data", "causes")} | {"judgement": report["judgement"]}
    setup.reporter.event(NO_BETTER, warning["message"], facts)
    return [warning]
