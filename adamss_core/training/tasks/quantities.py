"""A number for a row, whatever its inputs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adamss_core.inspection import head_modules
from adamss_core.training.batches import Encoded
from adamss_core.training.data import Data
from adamss_core.training.report_parts import residuals
from adamss_core.training.request import Values
from adamss_core.training.scores import number_scores
from adamss_core.training.tasks.base import Answered, Baseline, Predictions
from adamss_core.training.tasks.classes import Labelled


class Quantities(Labelled):
    """Squared error of one number, on the scale of the data: a published model needs no scaling back."""

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": self.record.problem_type}

    def prepare_head(self, model: PreTrainedModel, data: Data) -> None:
        """Start the head's bias at the mean, so that numbers far from zero cost no training."""
        heads = [model.get_submodule(name) for name in head_modules(model)]
        outputs = [m for head in heads for m in head.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
        if outputs and outputs[-1].bias is not None:
            labels = data.train["label"]
            outputs[-1].bias.data.fill_(sum(labels) / len(labels))

    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        return torch.tensor(labels, dtype=torch.float32)

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        return (outputs.logits.float()[:, 0] - targets) ** 2

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        return number_scores(predictions["logits"][:, 0], predictions["targets"])

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline:
        mean, targets = train.targets.double().mean(), evaluation.targets
        numbers = mean.expand(len(evaluation), 1)
        losses = (targets.double() - mean) ** 2
        return Baseline(f"always {float(mean):.4g}", {"logits": numbers, "targets": targets, "losses": losses})

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        return residuals(answered.predictions["logits"][:, 0], answered.predictions["targets"])

    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        return [{"value": value} for value in logits[:, 0].tolist()]
