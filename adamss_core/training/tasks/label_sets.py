"""Any number of classes for a row, whatever its inputs are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adamss_core.training.batches import Encoded
from adamss_core.training.data import Rows, in_order
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter, Values
from adamss_core.training.scores import label_set_scorer, label_set_scores, set_matches
from adamss_core.training.tasks.base import Answered, Baseline, Predictions, Scorer
from adamss_core.training.tasks.class_losses import is_plain, label_set_losses
from adamss_core.training.tasks.classes import Labelled, answers, known_classes


class LabelSets(Labelled):
    """Binary cross-entropy, the mean over classes: each class holds or does not; the column is `label`."""

    def class_names(self, rows: Rows) -> list[str]:
        counts = Counter(name for names in rows["label"] for name in names)
        if not counts:
            raise bad_data("No row has a class.", hint="Name the column with the classes.", where="dataset.label")
        return in_order(counts)

    def without_unknown(self, rows: Rows, classes: list[str], reporter: Reporter, which: str = "evaluation") -> Rows:
        return known_classes(rows, [set(names) for names in rows["label"]], classes, reporter, which)

    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        ids = {name: i for i, name in enumerate(classes)}
        targets = torch.zeros(len(labels), len(classes))
        for row, names in enumerate(labels):
            targets[row, [ids[name] for name in names]] = 1.0
        return targets

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs.logits.float(), targets, reduction="none").mean(1)

    def training_losses(
        self, train: Encoded, classes: list[str], device: torch.device, reporter: Reporter
    ) -> Callable[[Any, Tensor], Tensor]:
        if is_plain(self.spec.training):
            return self.losses
        losses = label_set_losses(self.spec.training, train.targets.mean(0), classes, device, reporter)
        return lambda outputs, targets: losses(outputs.logits.float(), targets).mean(1)

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        return label_set_scores(predictions["logits"] > 0, predictions["targets"])

    def scorer(self, predictions: Predictions, classes: list[str]) -> Scorer:
        return label_set_scorer(predictions["logits"] > 0, predictions["targets"])

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline:
        """Answer with the classes that more than half of the rows have, or else the most frequent one."""
        shares, targets = train.targets.mean(0), evaluation.targets
        chosen = shares > 0.5 if bool((shares > 0.5).any()) else shares == shares.max()
        shown = ", ".join(f'"{classes[i]}"' for i in chosen.nonzero().flatten().tolist()[:5])
        rare = 1 / (len(train) + 1)  # a class without a row is not impossible
        losses = F.binary_cross_entropy(shares.clamp(rare, 1 - rare).expand_as(targets), targets, reduction="none")
        logits = (chosen.float() * 2 - 1).expand_as(targets)
        return Baseline(f"always {shown}", {"logits": logits, "targets": targets, "losses": losses.mean(1)})

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        matches = set_matches(answered.predictions["logits"] > 0, answered.predictions["targets"])
        return {"classes": matches.counts().table(answered.classes), "classes_are": "classes"}

    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        scores = logits.sigmoid()
        labels_of_rows = [[names[i] for i in (row > 0.5).nonzero().flatten().tolist()] for row in scores]
        return [
            {"labels": labels, "scores": entry["scores"]}
            for labels, entry in zip(labels_of_rows, answers(scores, names), strict=True)
        ]
