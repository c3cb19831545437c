"""Judge a model by its metric beside a baseline on the same rows: what only guesses must not pass as a success."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from adamss_core.spec.measured_rows import FEW_MEASURED
from adamss_core.spec.tasks.metrics import LOSS, Metric
from adamss_core.training.confidence import LEVEL, Interval, Score, difference, fisher, paired_bootstrap, wilson
from adamss_core.training.request import Values
from adamss_core.training.scores import finite
from adamss_core.training.tasks import Task
from adamss_core.training.tasks.base import Baseline, Predictions

NO_BETTER = "no_better_than_baseline"
MOST_ROWS = 2_000  # whose results are kept


@dataclass(frozen=True)
class Judgement:
    """A metric of the published model beside its baseline, as `result["judgement"]` has it.

    Attributes:
        metric: by which the checkpoint was chosen.
        value: of the published model; None where it is undefined, as a correlation of equal predictions.
        baseline: of the answers that `predicts` names; a correlation's is 0.
        low, high: bounds of the value's interval; None where it has none.
        level: of the interval.
        method: of the interval, in words.
        rows: that were evaluated.
        no_better: whether the baseline is as good as the value, or within its interval; also where one row, or few
            that leave no interval, cannot show a difference.
    """

    metric: str
    value: float | None
    baseline: float | None
    predicts: str
    low: float | None
    high: float | None
    level: float
    method: str | None
    rows: int
    no_better: bool

    def export(self) -> dict[str, Any]:
        """Return the judgement as JSON values."""
        return asdict(self)

    def sentence(self) -> str:
        """Compare both in words."""
        value = "undefined" if self.value is None else f"{self.value:.4g}"
        interval = "" if self.low is None else f" ({self.level:.0%} interval {self.low:.4g} to {self.high:.4g})"
        baseline = "-" if self.baseline is None else f"{self.baseline:.4g}"
        return (
            f"{self.metric} is {value}{interval} on {self.rows} {'row' if self.rows == 1 else 'rows'}, and {baseline} "
            f"for a baseline that predicts {self.predicts}"
        )


@dataclass(frozen=True)
class Judge:
    """Callable: predictions of some rows in, the judgement out.

    Attributes:
        loss_terms: (n,) of the examples.
        numbers: (n,) row of each example; examples of one row are drawn together, as they are not independent.
        seed: of the bootstrap.
    """

    task: Task
    metric: Metric
    classes: list[str]
    loss_terms: Tensor
    numbers: list[int]
    seed: int

    def __call__(self, predictions: Predictions, baseline: Baseline) -> Judgement:
        value, other = (self.scores(part)[self.metric.name] for part in (predictions, baseline.predictions))
        if other is None and self.metric.interval.startswith("fisher"):
            other = 0.0  # equal answers go along with nothing
        interval = None if value is None else self._interval(value, predictions, baseline)
        rows = len(set(self.numbers))
        shows_nothing = rows == 1 or (interval is None and rows < FEW_MEASURED)
        return Judgement(
            metric=self.metric.name,
            value=value,
            baseline=other,
            predicts=baseline.predicts,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            level=LEVEL,
            method=interval.method if interval else None,
            rows=rows,
            no_better=shows_nothing or self._is_no_better(value, other, interval),
        )

    def difference(self, predictions: Predictions, others: Predictions) -> Interval | None:
        """Return the interval of the metric of `predictions` less that of `others`, paired by row."""
        rows = len(set(self.numbers))
        return difference(self._score(predictions), self._score(others), rows, self.seed)

    def row_results(self, predictions: Predictions) -> dict[str, Any]:
        """Return what each row gets, for a paired test of two models on the same rows: of at most `MOST_ROWS`.

        Returns:
            The rows' `numbers`, the mean `loss` of each, and where the metric is a share of rows, each row's `share`.
        """
        numbers, row = np.unique(self.numbers, return_inverse=True)
        places = np.linspace(0, len(numbers) - 1, min(MOST_ROWS, len(numbers))).astype(int)
        sums, terms = (np.bincount(row, part.double().numpy()) for part in (predictions["losses"], self.loss_terms))
        losses = [float(sums[place] / max(terms[place], 1.0)) for place in places]
        share = None
        if self.metric.interval == "wilson":
            score, alone = self._score(predictions), np.eye(1, len(numbers), dtype=np.int64)[0]
            share = [score(np.roll(alone, place)) for place in places]
        return {
            "numbers": numbers[places].tolist(),
            "loss": [round(loss, 5) if math.isfinite(loss) else None for loss in losses],
            "metric": self.metric.name,
            "share": share,
        }

    def scores(self, predictions: Predictions) -> Values:
        """Return the loss and the task's metrics; None for what is not finite."""
        loss = float(predictions["losses"].double().sum() / self.loss_terms.sum())
        return finite({"loss": loss, **self.task.metrics(predictions, self.classes)})

    def _interval(self, value: float, predictions: Predictions, baseline: Baseline) -> Interval | None:
        rows = len(set(self.numbers))
        match self.metric.interval:
            case "wilson":
                return wilson(value, rows)
            case "fisher" | "fisher_ranks" as method:
                return fisher(value, rows, ranks=method == "fisher_ranks")
            case "bootstrap":
                ours, theirs = self._score(predictions), self._score(baseline.predictions)
                return paired_bootstrap(ours, theirs, rows, self.seed, self.metric.bounds)

    def _score(self, predictions: Predictions) -> Score:
        """Return the metric as a function of how often each row counts."""
        _, row = np.unique(self.numbers, return_inverse=True)
        if self.metric == LOSS:
            mean = _mean_loss(predictions["losses"], self.loss_terms)
            return lambda times: mean(times[row])
        scorer = self.task.scorer(predictions, self.classes)
        return lambda times: scorer(times[row])[self.metric.name]

    def _is_no_better(self, value: float | None, baseline: float | None, interval: Interval | None) -> bool:
        if value is None:
            return True
        if baseline is None:
            return False
        if self.metric.higher_is_better:
            return baseline >= (value if interval is None else min(value, interval.low))
        return baseline <= (value if interval is None else max(value, interval.high))


def doubt(judgement: Judgement, data: str, causes: list[dict[str, Any]], said: str = "") -> dict[str, Any]:
    """Return the warning that a model is no better than its baseline, as results and reports have it.

    Args:
        data: the data set of the rows.
        said: about the causes, in words.
    """
    bounds = judgement.low, judgement.baseline, judgement.high
    within = None not in bounds and sorted(bounds) == list(bounds)  # type: ignore[type-var]
    shown = "is not shown to be better than the baseline, which the interval contains" if within else "may only guess"
    message = f"The model {shown}: {judgement.sentence()}. {said}".strip()
    return {"code": NO_BETTER, "message": message, "data": data, "causes": causes}


def _mean_loss(losses: Tensor, loss_terms: Tensor) -> Score:
    sums, terms = losses.double().numpy(), loss_terms.double().numpy()
    return lambda times: float((sums * times).sum() / (terms * times).sum())
