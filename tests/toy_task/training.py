"""The training half of the toy task: squared error of the number of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from adamss_core.spec.cells import Cells
from adamss_core.training.batches import Encoded, Inputs, Padding, tokenise
from adamss_core.training.data import Rows
from adamss_core.training.request import Values
from adamss_core.training.tasks.base import Baseline, Predictions, Usage
from adamss_core.training.tasks.text import TextTask
from adamss_core.training.tasks.text_classification import PaddedTexts


class TextLength(TextTask):
    """A number for each text, which follows from the text itself."""

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        texts = tokenise(rows["text"], None, processor, limit)
        targets = torch.tensor([float(len(text.split())) for text in rows["text"]])
        loss_terms = torch.ones(len(rows), dtype=torch.int64)
        return Encoded(texts.features, targets, texts.lengths, loss_terms, texts.over_length)

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> PaddedTexts:
        return PaddedTexts(processor, device)

    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        return (outputs.logits.float()[:, 0] - targets) ** 2

    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        return {"words": outputs.logits.float()[:, 0], "targets": targets}

    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        return {"mean_error": float((predictions["words"] - predictions["targets"]).abs().mean())}

    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline:
        mean, targets = train.targets.mean(), evaluation.targets
        losses = (targets - mean) ** 2
        return Baseline("the mean", {"words": mean.expand(len(evaluation)), "targets": targets, "losses": losses})

    def probe(self, processor: PreTrainedTokenizerBase, rows: Rows, limit: int) -> Inputs:
        return dict(processor(rows["text"], truncation=True, max_length=limit, padding=True, return_tensors="pt"))

    def predict(
        self, model: Any, processor: Any, inputs: Sequence[Cells], limit: int, *, seed: int = 0
    ) -> list[dict[str, Any]]:
        features = tokenise([row["text"] for row in inputs], None, processor, limit).features
        logits: Tensor = model(**Padding(processor, model.device).inputs(features)).logits
        return [{"words": float(value)} for value in logits[:, 0]]

    def usage(self, manifest: dict[str, Any]) -> Usage:
        return Usage(
            auto_model=self.record.auto_model,
            processor="AutoTokenizer",
            head="num_labels=1",
            setup="",
            lines='print(model(**processor("A text.", return_tensors="pt")).logits)',
        )
