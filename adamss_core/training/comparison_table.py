"""Put the numbers of a job's own adapter and of its contenders side by side, as `result["comparison"]` has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adamss_core.spec.contender_names import HEAD, OWN
from adamss_core.spec.tasks.metrics import Metric
from adamss_core.training.confidence import LEVEL
from adamss_core.training.evaluator import Evaluated
from adamss_core.training.tasks.base import Predictions

Entry = dict[str, Any]
THOUSAND = 1_000


@dataclass
class ComparisonTable:
    """Rows of a comparison: the job's own adapter first, then each contender whose training has ended.

    Attributes:
        metric: by which checkpoints are chosen, and contenders compared.
        names: of all contenders, in the job's order.
        baseline: the answers of the job's baseline in words, and its value of the metric; None where it has none.
        entries: own adapter and finished contenders.
        running: contender, place, step and seconds left of the training under way.
    """

    metric: Metric
    names: Sequence[str]
    baseline: tuple[str, float] | None
    entries: list[Entry] = field(default_factory=list)
    running: dict[str, Any] | None = None

    def export(self) -> dict[str, Any]:
        """Return the table as JSON values, with the gain of each adapter per thousand elements of A and B."""
        reference = self._reference()
        return {
            "metric": self.metric.name,
            "direction": self.metric.direction,
            "level": LEVEL,
            "planned": list(self.names),
            "gain_over": None if reference is None else reference[0],
            "contenders": [entry | {"gain_per_thousand": self._gain(entry, reference)} for entry in self.entries],
            "running": self.running,
        }

    def _reference(self) -> tuple[str, float] | None:
        """Return name and value of what an adapter has to add to: the trained head alone, else the baseline."""
        for entry in self.entries:
            if entry["contender"] == HEAD and (value := self._value(entry)) is not None:
                return HEAD, value
        return None if HEAD in self.names and self.running is not None else self.baseline

    def _gain(self, entry: Entry, reference: tuple[str, float] | None) -> float | None:
        value, elements = self._value(entry), entry["adapter_parameters"]
        if reference is None or value is None or not elements:
            return None
        gain = value - reference[1]
        return (gain if self.metric.higher_is_better else -gain) / (elements / THOUSAND)

    def _value(self, entry: Entry) -> float | None:
        measured = entry["held_out"]
        value: float | None = None if measured is None else measured["metrics"].get(self.metric.name)
        return value


def own_entry(sizes: tuple[int, int], facts: dict[str, Any], evaluated: Sequence[Evaluated]) -> Entry:
    """Return the row of the job's own adapter.

    Args:
        sizes: elements of A and B in the published delta, and of the head and other modules in full.
        facts: learning rates, steps and seconds.
        evaluated: the held-out rows, then the test rows, if there are any.
    """
    measured = [_measured(one, one.predictions, own=True) for one in evaluated]
    return _entry(OWN, sizes, facts, measured)


def contender_entry(
    name: str,
    sizes: tuple[int, int],
    facts: dict[str, Any],
    evaluated: Sequence[Evaluated],
    predictions: Sequence[Predictions],
) -> Entry:
    """Return the row of a contender.

    Args:
        evaluated: of the job's own model, on each part of the data.
        predictions: of the contender, on the same parts.
    """
    measured = [_measured(one, theirs) for one, theirs in zip(evaluated, predictions, strict=True)]
    return _entry(name, sizes, facts, measured)


def failed_entry(name: str, code: str, message: str, hint: str | None) -> Entry:
    """Return the row of a contender that could not be trained."""
    facts = dict.fromkeys(("learning_rate", "head_learning_rate", "step", "steps", "seconds"))
    error = {"code": code, "message": message, "hint": hint}
    return _entry(name, (None, None), facts, []) | {"status": "failed", "error": error}


def _entry(
    name: str, sizes: tuple[int | None, int | None], facts: dict[str, Any], measured: Sequence[dict[str, Any]]
) -> Entry:
    held_out, test, *_ = [*measured, None, None]
    return {
        "contender": name,
        "status": "trained",
        "adapter_parameters": sizes[0],
        "head_parameters": sizes[1],
        **facts,
        "held_out": held_out,
        "test": test,
        "error": None,
    }


def _measured(evaluated: Evaluated, predictions: Predictions, *, own: bool = False) -> dict[str, Any]:
    """Return metrics with their interval, and the difference of the metric to the job's own, paired by row."""
    judge, name = evaluated.judge, evaluated.judge.metric.name
    metrics = judge.scores(predictions)
    value, ours = metrics[name], evaluated.report["metrics"][name]
    judgement = None if evaluated.baseline is None else judge(predictions, evaluated.baseline)
    interval = None if own or value is None or ours is None else judge.difference(predictions, evaluated.predictions)
    return {
        "rows": evaluated.report["rows"],
        "metrics": metrics,
        "low": judgement.low if judgement else None,
        "high": judgement.high if judgement else None,
        "method": judgement.method if judgement else None,
        "difference": None if own or value is None or ours is None else value - ours,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "difference_method": interval.method if interval else None,
    }
