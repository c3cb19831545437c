"""Evaluate a finished model on some rows, in full: predictions, scores beside a baseline, and what a report shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from peft import PeftModel

from adamss_core.spec.tasks.metrics import Metric
from adamss_core.training.batches import Collate, Encoded
from adamss_core.training.data import Rows
from adamss_core.training.evaluation import predict
from adamss_core.training.illustration import illustrate
from adamss_core.training.judgement import Judge
from adamss_core.training.ranks import Ranks
from adamss_core.training.request import Reporter
from adamss_core.training.setup import Setup
from adamss_core.training.tasks import Task
from adamss_core.training.tasks.base import Answered, Baseline, Predictions

Report = dict[str, Any]
Judged = tuple[Baseline | None, dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """Rows that are evaluated.

    Attributes:
        data: the data set that they are from: train (a share was held out), eval or test.
    """

    data: str
    rows: Rows
    examples: Encoded


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Evaluation of a model on some rows.

    Attributes:
        report: metrics, baseline, judgement and details, as JSON values.
        predictions: of all rows, as `Task.predictions` returns them, and "losses".
        baseline: None where it could not be computed.
    """

    part: Part
    judge: Judge
    report: Report
    predictions: Predictions
    baseline: Baseline | None


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A finished model with all that its evaluation needs.

    Attributes:
        limit: tokens per example.
        metric: that is judged beside the baseline.
        seed: of the bootstrap.
        batch_size: rows at a time, at most.
        trained_on: examples whose classes or mean the baseline answers; None takes those that are evaluated.
        alive: called before each batch.
        ranks: the processes that evaluate together.
    """

    task: Task
    model: Any
    processor: Any
    classes: list[str]
    limit: int
    collate: Collate
    accelerator: Accelerator
    reporter: Reporter
    metric: Metric
    seed: int
    batch_size: int
    trained_on: Encoded | None
    alive: Callable[[], object]
    ranks: Ranks = field(default_factory=Ranks)

    @classmethod
    def of(cls, setup: Setup, model: PeftModel, batch_size: int) -> Evaluator:
        """Return the evaluator of a run's published model."""
        return cls(
            task=setup.task,
            model=model,
            processor=setup.processor,
            classes=setup.data.classes,
            limit=setup.limit,
            collate=setup.collate,
            accelerator=setup.accelerator,
            reporter=setup.reporter,
            metric=setup.task.record.metric(setup.training.metric_for_best),
            seed=setup.training.seed,
            batch_size=batch_size,
            trained_on=setup.train,
            alive=setup.reporter.stop_requested,
            ranks=setup.ranks,
        )

    def evaluate(self, part: Part, predictions: Predictions | None = None) -> Evaluated:
        """Evaluate these rows and report on them; every process must call this.

        Args:
            predictions: of the model on these rows, where they are known.
        """
        judge = Judge(self.task, self.metric, self.classes, part.examples.loss_terms, part.rows.numbers, self.seed)
        predictions = self.predict(part) if predictions is None else predictions
        report = {"data": part.data, "rows": part.rows.row_count, "metrics": judge.scores(predictions)}
        nothing: Judged = (None, {"baseline": None, "judgement": None})
        baseline, judged = illustrate(
            self.reporter,
            "The metrics have no baseline beside them",
            lambda: self._judged(part, judge, predictions),
            nothing,
            processes=self.ranks.size,
        )
        report |= judged
        if self.ranks.passes:
            lost = "The evaluation has no details beside the metrics"
            details: Report = illustrate(
                self.reporter,
                lost,
                lambda: self.task.evaluation(self._answered(part, predictions)),
                {},
                processes=self.ranks.per_pass,
            )
            report |= details
            unpaired = "The evaluation cannot be paired with that of another job"
            kept = illustrate(self.reporter, unpaired, lambda: judge.row_results(predictions), None)
            report["row_results"] = kept
        return Evaluated(part=part, judge=judge, report=report, predictions=predictions, baseline=baseline)

    def _judged(self, part: Part, judge: Judge, predictions: Predictions) -> Judged:
        """Return the baseline, with its scores and the judgement of the model beside it."""
        baseline = self._baseline(part)
        if baseline is None:
            return None, {"baseline": None, "judgement": None}
        return baseline, {
            "baseline": {"predicts": baseline.predicts, **judge.scores(baseline.predictions)},
            "judgement": judge(predictions, baseline).export(),
        }

    def _baseline(self, part: Part) -> Baseline | None:
        """Return the baseline: of the task, else the base model; None where that cannot be told from the model."""
        trained_on = part.examples if self.trained_on is None else self.trained_on
        baseline = self.task.baseline(trained_on, part.examples, self.classes)
        if baseline is not None or not isinstance(self.model, PeftModel):
            return baseline
        with self.model.disable_adapter():
            return Baseline("what the base model does", self.predict(part))

    def predict(self, part: Part) -> Predictions:
        """Return the model's predictions of all rows, with "losses"; every process must call this."""
        return predict(
            self.model,
            self.task,
            part.examples,
            self.collate,
            self.batch_size,
            self.accelerator,
            self.alive,
            self.ranks,
        )

    def _answered(self, part: Part, predictions: Predictions) -> Answered:
        return Answered(
            rows=part.rows,
            predictions=predictions,
            classes=self.classes,
            model=self.model.eval(),
            processor=self.processor,
            limit=self.limit,
        )
