"""Classes that exclude each other: names, loss, metrics, baseline and answers."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adamss_core.spec.measured_rows import UNKNOWN_LABELS, rows_of_unknown_labels
from adamss_core.training.batches import Encoded
from adamss_core.training.data import Rows, in_order
from adamss_core.training.errors import bad_data
from adamss_core.training.report_parts import confusion
from adamss_core.training.request import Reporter, Values
from adamss_core.training.scores import class_matches, class_scorer, class_scores
from adamss_core.training.tasks.base import Answered, Baseline, Predictions, Scorer, Task
from adamss_core.training.tasks.class_losses import exclusive_losses, is_plain

MAX_SCORES = 20  # of an answer


class Labelled(Task):
    """A task whose head gives (rows, outputs), for a label in the column `label` of whatever kind."""

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return super().head_options(classes) | {"problem_type": self.record.problem_type}

    @abstractmethod
    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        """Return the targets, (n, ...)."""

    @abstractmethod
    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        """Turn logits (rows, outputs) into answers in plain values."""

    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        return {"logits": outputs.logits.float(), "targets": targets}


class ExclusiveClasses(Labelled):
    """Cross-entropy over classes that exclude each other; the column is `label`."""

    def class_names(self, rows: Rows) -> list[str]:
        counts = Counter(rows["label"])
        column = self.spec.dataset.label
        assert isinstance(column, str)  # a task with one class in a row refuses lists of columns
        check_classes(counts, column)
        return in_order(counts)

    def strata(self, rows: Rows) -> list[str]:
        return rows["label"]

    def without_unknown(self, rows: Rows, classes: list[str], reporter: Reporter, which: str = "evaluation") -> Rows:
        return known_classes(rows, [{label} for label in rows["label"]], classes, reporter, which)

    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        return class_ids(labels, classes)

    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        return answers(logits.softmax(-1), names)

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.logits.float(), targets, reduction="none")

    def training_losses(
        self, train: Encoded, classes: list[str], device: torch.device, reporter: Reporter
    ) -> Callable[[Any, Tensor], Tensor]:
        training, counts = self.spec.training, torch.bincount(train.targets, minlength=len(classes))
        if is_plain(training):
            return self.losses
        losses = exclusive_losses(training, counts, classes, device, reporter)
        return lambda outputs, targets: losses(outputs.logits.float(), targets)

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        return class_scores(predictions["logits"].argmax(1), predictions["targets"])

    def scorer(self, predictions: Predictions, classes: list[str]) -> Scorer:
        return class_scorer(predictions["logits"].argmax(1), predictions["targets"])

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline:
        """Answer with the shares of the training classes: always the most frequent one."""
        scores = log_shares(torch.bincount(train.targets, minlength=len(classes)))
        logits, targets = scores.expand(len(evaluation), -1), evaluation.targets
        losses = F.cross_entropy(logits, targets, reduction="none")
        return Baseline(always(classes, scores), {"logits": logits, "targets": targets, "losses": losses})

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        names = answered.classes
        predicted, targets = answered.predictions["logits"].argmax(1), answered.predictions["targets"]
        table = class_matches(predicted, targets, len(names)).counts().table(names)
        return {"classes": table, "classes_are": "classes", **confusion(predicted, targets, names)}


def class_ids(labels: Sequence[str], classes: list[str]) -> Tensor:
    """Return the index of each label among the classes, (n,) int64."""
    ids = {name: i for i, name in enumerate(classes)}
    return torch.tensor([ids[label] for label in labels])


def check_classes(counts: Counter[str], column: str) -> None:
    """Raise TrainingError bad_data where there is nothing to tell apart."""
    if len(counts) == 1:
        raise bad_data(
            f"Every row has the same label, '{next(iter(counts))}': there is nothing to tell apart.",
            hint="Add rows of another class, or name another label column.",
            where="dataset.label",
        )
    if max(counts.values()) == 1:
        raise bad_data(
            f"Each of the {len(counts)} rows has a label of its own in '{column}'.",
            hint='Name a column with classes; to predict numbers, set problem_type to "regression".',
            where="dataset.label",
        )


def known_classes(rows: Rows, labels: Sequence[set[str]], classes: list[str], reporter: Reporter, which: str) -> Rows:
    """Keep rows all of whose labels, (n,), are known; report the others in an event."""
    known = set(classes)
    usable = [i for i, names in enumerate(labels) if names <= known]
    if len(usable) < len(rows):
        unknown, left_out = sorted(set().union(*labels) - known), len(rows) - len(usable)
        said = rows_of_unknown_labels(left_out, unknown, which)
        reporter.event(UNKNOWN_LABELS, said, {"rows": left_out, "labels": unknown[:20], "data": which})
        return replace(rows.take(usable), unknown=said)
    return rows.take(usable)


def log_shares(counts: Tensor) -> Tensor:
    """Return the logarithm of each class's share, (classes,); a class without a row counts as one with a single row."""
    seen = counts.double().clamp(min=1)
    return (seen / seen.sum()).log().float()


def always(classes: list[str], scores: Tensor) -> str:
    """Name the answer that always is the class with the highest score, (classes,)."""
    return f'always "{classes[int(scores.argmax())]}"'


def answers(scores: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
    """Return for shares of one, (rows, classes), the best class and the scores of the best ones."""
    rows = []
    for row in scores:
        best = row.topk(min(MAX_SCORES, len(row)))
        shares = {names[int(i)]: float(score) for score, i in zip(*best, strict=True)}
        label = next(iter(shares))
        rows.append({"label": label, "score": shares[label], "scores": shares})
    return rows
