"""Evaluate the model of a finished run, or its base model, on any labelled rows; nothing is trained."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator

from adamss_core.published import Loaded, load_published
from adamss_core.training.causes import count_classes
from adamss_core.training.errors import Stopped, translated_errors
from adamss_core.training.evaluator import Evaluator, Part, Report
from adamss_core.training.hardest_examples import hardest_examples
from adamss_core.training.judgement import NO_BETTER, Judgement, doubt
from adamss_core.training.length_policy import encode_test
from adamss_core.training.phases import enter_phase
from adamss_core.training.request import PublishedModel, Reporter, RunRequest, RunResult
from adamss_core.training.row_doubts import MeasuredClasses, doubt_rows
from adamss_core.training.setup import make_accelerator

DATA = "test"
FIELD = "dataset"  # of the request that names the rows


def evaluate_model(request: RunRequest, reporter: Reporter) -> RunResult:
    """Evaluate `request.evaluates` on `request.test_file`, as a run evaluates what it publishes.

    The device's precision, the order of the rows and the batches are those of the run, so that on the same rows and
    device the metrics are the same. The baseline answers the most frequent class, or the mean, of the evaluated rows.

    Returns:
        A result of `test_<metric>`, judgement, warnings and facts; the report, and the hardest rows. No artifacts.

    Raises:
        TrainingError: the model cannot be loaded, the base has no trained head (no_head), or no row can be used.
        Stopped: the reporter asked for it.
    """
    with translated_errors():
        return _evaluate(request, reporter)


def _evaluate(request: RunRequest, reporter: Reporter) -> RunResult:
    begun = time.monotonic()
    assert request.evaluates is not None
    assert request.test_file is not None
    accelerator = make_accelerator(request.spec)
    reporter.resumed(0)
    enter_phase(reporter, "loading")
    loaded = load_published(request.evaluates, request.model, request.revision, request.folder / "published")
    classes = list(loaded.source.classes)
    rows = loaded.task.load_test(request.test_file, classes, reporter)
    enter_phase(reporter, "tokenising")
    unknown = rows.unknown
    rows, examples = encode_test(loaded.task, rows, classes, loaded.processor, loaded.limit, reporter)
    part = Part(DATA, rows, examples)
    batches = _Batches(reporter, math.ceil(len(rows) / loaded.task.spec.training.batch_size))
    evaluator = _evaluator(loaded, accelerator, reporter, batches)
    enter_phase(reporter, "evaluating")
    evaluated = evaluator.evaluate(part)
    batches.finish()
    hardest = hardest_examples(evaluator, part, evaluated.predictions["losses"])
    measured = MeasuredClasses(classes, classes, count_classes(loaded.task.spec, part.rows), unknown=unknown)
    warnings = [*_warnings(evaluated.report, reporter), *doubt_rows(evaluated.report, reporter, measured, FIELD)]
    report = evaluated.report | {"warnings": warnings}
    result = _result(report, request.evaluates, classes) | {
        "device": accelerator.device.type,
        "seconds": time.monotonic() - begun,
    }
    return RunResult(result=result, artifacts=[], hardest=hardest, evaluation=[report])


def _evaluator(loaded: Loaded, accelerator: Accelerator, reporter: Reporter, batches: _Batches) -> Evaluator:
    task, training = loaded.task, loaded.task.spec.training  # as the run had them, without "auto"
    return Evaluator(
        task=task,
        model=loaded.model.to(accelerator.device),
        processor=loaded.processor,
        classes=list(loaded.source.classes),
        limit=loaded.limit,
        collate=task.collator(loaded.processor, accelerator.device),
        accelerator=accelerator,
        reporter=reporter,
        metric=task.record.metric(training.metric_for_best),
        seed=training.seed,
        batch_size=training.batch_size,
        trained_on=None,
        alive=batches,
    )


@dataclass
class _Batches:
    """Callable before each batch: report how far the evaluation is, and stop it where that is asked for."""

    reporter: Reporter
    total: int
    done: int = 0

    def __call__(self) -> None:
        if self.reporter.stop_requested():
            raise Stopped("stopped while the rows were evaluated")
        self._report(min(self.done, self.total))  # the base model goes through all rows again, as the baseline
        self.done += 1

    def finish(self) -> None:
        """Report that all rows are evaluated."""
        self._report(self.total)

    def _report(self, step: int) -> None:
        self.reporter.progress(step=step, total_steps=self.total, epoch=0.0, eta_seconds=None, asa=None)


def _warnings(report: Report, reporter: Reporter) -> list[dict[str, Any]]:
    if report["judgement"] is None or not report["judgement"]["no_better"]:
        return []
    warning = doubt(Judgement(**report["judgement"]), DATA, [])
    reporter.event(NO_BETTER, warning["message"], {"data": DATA, "causes": [], "judgement": report["judgement"]})
    return [warning]


def _result(report: Report, evaluated: PublishedModel, classes: list[str]) -> dict[str, Any]:
    return {
        **{f"{DATA}_{name}": value for name, value in report["metrics"].items()},
        **{name: report[name] for name in ("baseline", "judgement", "warnings")},
        "test_rows": report["rows"],
        "labels": classes,
        "model": "base" if evaluated.is_base else "trained",
    }
