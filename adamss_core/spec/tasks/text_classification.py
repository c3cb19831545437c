"""Text classification: one class, several classes, or a number for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from adamss_core.spec.cells import Cells, Unusable
from adamss_core.spec.labels import as_text
from adamss_core.spec.spec_model import Column
from adamss_core.spec.suggestion import Choice, Columns
from adamss_core.spec.tasks.base import FieldKind
from adamss_core.spec.tasks.columns import LabelColumn, TextColumn
from adamss_core.spec.tasks.labelled import (
    MULTI_LABEL,
    REGRESSION,
    FoundInputs,
    LabelledRecord,
    OneClass,
    OneNumber,
    SeveralClasses,
)
from adamss_core.spec.tasks.preset import ENCODER_ADAMSS, ENCODER_TRAINING, MEASURED, Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "text-classification"
HALF = "adamss_core.training.tasks.text_classification"
# Usual names of pairs of texts, the most telling first.
PAIRS = (
    *(("text", "text_pair"), ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2")),
    *(("text1", "text2"), ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("query", "passage")),
)


class TextClassificationColumns(LabelColumn, TextColumn):
    text_pair: Column | None = None
    """Column with the second text, for pairs."""


class TextClassification(LabelledRecord):
    """The common part of the variants: a text, or a pair of texts."""

    name = NAME
    title = "Text classification"
    column_sets = (("text", "label", "text_pair"), ("text", "label"))
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"text": "text", "label": "label", "text_pair": "text"}
    field_titles: ClassVar[Mapping[str, str]] = {"text_pair": "Second text"}
    dataset_options = ("label_separator",)
    needs = "both a text and a label"
    auto_model = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def read_inputs(self, spec: JobSpec, cells: Cells) -> Cells:
        texts: Cells = {}
        for field in ("text", "text_pair"):
            if field in cells:
                texts[field] = as_text(cells[field])
                if not texts[field] or isinstance(cells[field], list | dict):
                    raise Unusable("without a text")
        return texts

    def find_inputs(self, columns: Columns) -> FoundInputs | None:
        text = columns.text()
        pair = next((both for names in PAIRS if (both := columns.both_texts(names)) is not None), None)
        texts = [Choice(name, is_usual=True, is_only=True) for name in pair or ()] or ([] if text is None else [text])
        if not texts:
            return None
        names = [choice.column for choice in texts]
        return FoundInputs(
            dict(zip(("text", "text_pair"), names, strict=False)),
            is_certain=all(choice.is_certain for choice in texts),
            usual=sum(choice.is_usual for choice in texts),
            reason=f"{' and '.join(map(repr, names))} hold{'s' * (pair is None)} text",
        )


class SingleLabel(OneClass, TextClassification):
    """One class for each text."""

    training_half = f"{HALF}:SingleLabel"
    is_profiled = True
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"text": "text", "label": "label"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=MEASURED,
        ),
        Preset(
            name="text-pairs",
            task=NAME,
            dataset={"text": "text", "text_pair": "text_pair", "label": "label"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=f"Not measured on a task of its own: the values that were measured for {NAME}.",
        ),
    )


class MultiLabel(SeveralClasses, TextClassification):
    """Any number of classes for each text."""

    training_half = f"{HALF}:MultiLabel"
    presets = (
        Preset(
            name="multi-label",
            task=NAME,
            problem_type=MULTI_LABEL,
            dataset={"text": "text", "label": "labels", "label_separator": ";"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason=f"Not measured on a task of its own: the values that were measured for {NAME}.",
        ),
    )


class Regression(OneNumber, TextClassification):
    """A number for each text."""

    training_half = f"{HALF}:Regression"
    presets = (
        Preset(
            name="regression",
            task=NAME,
            problem_type=REGRESSION,
            dataset={"text": "text", "label": "score"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason="Measured with `make bench-rates` (MiniLM, the raters' mean of movie reviews): Pearson 0.70 at "
            "0.01, 0.74 at 0.03, against 0.74 of LoRA at its best rate of 0.003.",
        ),
    )


RECORDS = (SingleLabel(), MultiLabel(), Regression())
