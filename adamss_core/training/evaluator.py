"""Evaluate a finished model on some rows, in full: predictions, scores beside a baseline, and what a report shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor

from adamss_core.spec.tasks.metrics import Metric
from adamss_core.training.batches import Collate, Encoded
from adamss_core.training.data import Rows
from adamss_core.training.evaluation import predict
from adamss_core.training.illustration import illustrate
from adamss_core.training.judgement import Judge
from adamss_core.training.request import Reporter
from adamss_core.training.setup import Setup
from adamss_core.training.tasks import Task
from adamss_core.training.tasks.base import Answered, Baseline, Predictions

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
        )

    def report(self, part: Part) -> tuple[Report, Tensor]:
        """Return the report on these rows, and the loss of each, (n,); every process must call this."""
        judge = Judge(self.task, self.metric, self.classes, part.examples.loss_terms, part.rows.numbers, self.seed)
        predictions = self._predictions(part)
        report = {"data": part.data, "rows": part.rows.row_count, "metrics": judge.scores(predictions)}
        report |= illustrate(
            self.reporter,
            "The metrics have no baseline beside them",
            lambda: self._judged(part, judge, predictions),
            {"baseline": None, "judgement": None},
            processes=self.accelerator.num_processes,
        )
        if self.accelerator.is_main_process:
            lost = "The evaluation has no details beside the metrics"
            details: Report = illustrate(
                self.reporter, lost, lambda: self.task.evaluation(self._answered(part, predictions)), {}
            )
            report |= details
        return report, predictions["losses"]

    def _judged(self, part: Part, judge: Judge, predictions: Predictions) -> dict[str, Any]:
        """Return the baseline's scores and the judgement of the model beside it."""
        baseline = self._baseline(part)
        if baseline is None:
            return {"baseline": None, "judgement": None}
        return {
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
            return Baseline("what the base model does", self._predictions(part))

    def _predictions(self, part: Part) -> Predictions:
        return predict(
            self.model, self.task, part.examples, self.collate, self.batch_size, self.accelerator, self.alive
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
