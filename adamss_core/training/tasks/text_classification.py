"""A class, several classes, or a number for a text or a pair of texts."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from adamss_core.inspection import head_modules
from adamss_core.spec.cells import Cells
from adamss_core.training.base_model import Source
from adamss_core.training.batches import Encoded, Inputs, Padding, Tokenised, tokenise
from adamss_core.training.data import Data, Rows, in_order
from adamss_core.training.errors import bad_data
from adamss_core.training.report_parts import residuals
from adamss_core.training.request import Reporter, Values
from adamss_core.training.scores import label_set_scorer, label_set_scores, number_scores, set_matches
from adamss_core.training.tasks.base import Answered, Baseline, Predictions, Scorer, Usage
from adamss_core.training.tasks.class_losses import is_plain, label_set_losses
from adamss_core.training.tasks.classes import ExclusiveClasses, answers, class_ids, known_classes
from adamss_core.training.tasks.end_tokens import EndTokens
from adamss_core.training.tasks.text import TextTask


class TextClassification(TextTask):
    """The common part of one class, several classes and a number."""

    _ends: EndTokens | None = None  # of a base that finds a text's end by them

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        return super().head_options(classes) | {"problem_type": self.record.problem_type}

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

    @abstractmethod
    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        """Return the targets, (n, ...)."""

    def _tokenise(self, columns: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, limit: int) -> Tokenised:
        return tokenise(columns["text"], columns.get("text_pair"), tokenizer, limit)

    def collator(self, processor: PreTrainedTokenizerBase, device: torch.device) -> PaddedTexts:
        return PaddedTexts(processor, device)

    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        return {"logits": outputs.logits.float(), "targets": targets}

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

    @abstractmethod
    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        """Turn logits (rows, classes) into answers in plain values."""

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

    def encode_labels(self, labels: list[Any], classes: list[str]) -> Tensor:
        return class_ids(labels, classes)

    def answer(self, logits: Tensor, names: dict[int, str]) -> list[dict[str, Any]]:
        return answers(logits.softmax(-1), names)


class MultiLabel(TextClassification):
    """Binary cross-entropy, the mean over classes: each class holds or does not."""

    answer_code = (
        "with torch.no_grad():\n    scores = model(**inputs).logits.sigmoid()[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})  # above 0.5: it holds"
    )

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


class Regression(TextClassification):
    """Squared error of one number, on the scale of the data: a published model needs no scaling back."""

    head_code = 'num_labels=1, problem_type="regression"'
    answer_code = "with torch.no_grad():\n    print(float(model(**inputs).logits[0, 0]))"

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
