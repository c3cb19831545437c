"""Evaluate a run's published model once more, in full, and say what may have gone wrong where it only guesses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from torch import Tensor

from adamss_core.training.causes import Evidence, count_answers, count_classes, find_causes
from adamss_core.training.evaluator import Evaluator, Part, Report
from adamss_core.training.hardest_examples import hardest_examples
from adamss_core.training.illustration import illustrate
from adamss_core.training.judgement import NO_BETTER, Judgement, doubt
from adamss_core.training.progress import Progress
from adamss_core.training.setup import Setup


@dataclass(frozen=True)
class FinalEvaluation:
    """Evaluation of the published model.

    Attributes:
        result: to be added to the run's result.
        reports: one for the held-out rows, one for the test rows if there are any; none where that failed.
        hardest: the held-out rows with the highest loss, as `hardest_examples` returns them.
    """

    result: dict[str, Any]
    reports: list[Report] = field(default_factory=list)
    hardest: list[dict[str, Any]] = field(default_factory=list)


UNKNOWN = FinalEvaluation({"baseline": None, "judgement": None, "warnings": []})


def evaluate_published(setup: Setup, model: PeftModel, progress: Progress) -> FinalEvaluation:
    """Evaluate the published model, and warn where it is no better than its baseline; every process must call this."""
    evaluator = Evaluator.of(setup, model, progress.micro_batch)
    found: FinalEvaluation = illustrate(
        setup.reporter,
        "The finished model is not evaluated in full",
        lambda: _evaluate(setup, evaluator, progress),
        UNKNOWN,
        processes=setup.accelerator.num_processes,
    )
    model.to("cpu")
    return found


def _evaluate(setup: Setup, evaluator: Evaluator, progress: Progress) -> FinalEvaluation:
    evaluator.model.to(setup.accelerator.device)
    part = Part(setup.data.held_out["from"], setup.data.evaluation, setup.evaluation)
    report, losses = _report(setup, evaluator, part, progress)
    result = {name: report[name] for name in ("baseline", "judgement", "warnings")}
    reports = [report]
    if (test := _test_report(setup, evaluator, progress)) is not None:
        reports.append(test)
        result |= {f"test_{name}": value for name, value in test["metrics"].items()} | {"test_rows": test["rows"]}
        result["warnings"] = [*report["warnings"], *test["warnings"]]
    return FinalEvaluation(result, reports, hardest_examples(evaluator, part, losses))


def _test_report(setup: Setup, evaluator: Evaluator, progress: Progress) -> Report | None:
    """Evaluate the test rows, if there are any: once, as this is the published model."""
    if setup.data.test is None or setup.test is None:
        return None
    part = Part("test", setup.data.test, setup.test)
    return illustrate(
        setup.reporter,
        "The finished model is not evaluated on the test data",
        lambda: _report(setup, evaluator, part, progress)[0],
        None,
        processes=setup.accelerator.num_processes,
    )


def _report(setup: Setup, evaluator: Evaluator, part: Part, progress: Progress) -> tuple[Report, Tensor]:
    """Return the report on these rows with its warnings, and the loss of each, (n,)."""
    report, losses = evaluator.report(part)
    return report | {"warnings": _warnings(setup, progress, report)}, losses


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
