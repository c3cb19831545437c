"""A class, several classes, or a number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adamss_core.spec.cells import Cells
from adamss_core.training.base_model import Source
from adamss_core.training.batches import Encoded, Inputs, Padding, Tokenised, tokenise
from adamss_core.training.data import Rows
from adamss_core.training.tasks.base import Usage
from adamss_core.training.tasks.classes import ExclusiveClasses, Labelled
from adamss_core.training.tasks.end_tokens import EndTokens
from adamss_core.training.tasks.label_sets import LabelSets
from adamss_core.training.tasks.quantities import Quantities
from adamss_core.training.tasks.text import TextTask


class TextClassification(Labelled, TextTask):
    """The common part of one class, several classes and a number."""

    _ends: EndTokens | None = None  # of a base that finds a text's end by them

    def load_base(self, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
        model, fresh = super().load_base(source, processor)
        if model.config.is_encoder_decoder:
            self._ends = EndTokens.of(source.name, model.config.eos_token_id, processor, self._is_pair)
        return model, fresh

    @property
    def _is_pair(self) -> bool:
        return self.spec.dataset.text_pair is not None

    def encode(self, rows: Rows, classes: list[str], processor: PreTrainedTokenizerBase, limit: int) -> Encoded:
        texts = self._tokenise(rows.columns, processor, limit)
        if self._ends is not None:
            self._ends.check(texts, rows)
        targets = self.encode_labels(rows["label"], classes)
        loss_terms = torch.ones(len(rows), dtype=torch.int64)
        return Encoded(texts.features, targets, texts.lengths, loss_terms, texts.over_length)

    def _tokenise(self, columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, limit: int) -> Tokenised:
        return tokenise(columns["text"], columns.get("text_pair"), tokenizer, limit)

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> PaddedTexts:
        return PaddedTexts(processor, device)

    def probe(self, processor: PreTrainedTokenizerBase, rows: Rows, limit: int) -> Inputs:
        batch = processor(
            rows["text"],
            rows.columns.get("text_pair"),
            truncation=True,
            max_length=limit,
            padding=True,
            return_tensors="pt",
        )
        return dict(batch)

    @torch.inference_mode()
    def predict(self, model: Any, processor: Any, inputs: Sequence[Cells], limit: int) -> list[dict[str, Any]]:
        pair = ["text_pair"] if self._is_pair else []
        columns = {name: [str(row[name]) for row in inputs] for name in ("text", *pair)}
        features = self._tokenise(columns, processor, limit).features
        logits: Tensor = model(**Padding(processor, model.device).inputs(features)).logits.float().cpu()
        return self.answer(logits, model.config.id2label)

    def usage(self, manifest: dict[str, Any]) -> Usage:
        second = ', "A second text."' if self.spec.dataset.text_pair else ""
        return Usage(
            auto_model="AutoModelForSequenceClassification",
            processor="AutoTokenizer",
            head=self.head_code,
            setup="" if not manifest["result"]["labels"] else f"labels = {manifest['result']['labels']!r}\n",
            lines=f'inputs = processor("A text."{second}, truncation=True, max_length={manifest["max_length"]}, '
            f'return_tensors="pt")\n{self.answer_code}',
        )

    head_code = "num_labels=len(labels), id2label=dict(enumerate(labels))"
    answer_code: str


class PaddedTexts:
    """Pad a batch of texts; targets have equal shapes, (rows, ...)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self._pad, self._device = Padding(tokenizer, device), device

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        inputs = self._pad.inputs([data.features[row] for row in rows])
        return inputs, data.targets[rows].to(self._device)


class SingleLabel(ExclusiveClasses, TextClassification):
    """One class for each text."""

    answer_code = (
        "with torch.no_grad():\n    scores = model(**inputs).logits.softmax(-1)[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})"
    )


class MultiLabel(LabelSets, TextClassification):
    """Any number of classes for each text."""

    answer_code = (
        "with torch.no_grad():\n    scores = model(**inputs).logits.sigmoid()[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})  # above 0.5: it holds"
    )


class Regression(Quantities, TextClassification):
    """A number for each text."""

    head_code = 'num_labels=1, problem_type="regression"'
    answer_code = "with torch.no_grad():\n    print(float(model(**inputs).logits[0, 0]))"
