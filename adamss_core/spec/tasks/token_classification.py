"""Token classification: a tag for each word, such as entities in IOB tags or parts of speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from adamss_core.spec.cells import Cells, Unusable, words_of
from adamss_core.spec.labels import class_name
from adamss_core.spec.spec_model import Column, SpecModel
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import FAST_TOKENIZER, TOKENIZER, FieldKind, TaskRecord
from adamss_core.spec.tasks.classes import no_classes, one_class, too_many_classes
from adamss_core.spec.tasks.metrics import ACCURACY, ENTITY_F1, LOSS
from adamss_core.spec.tasks.preset import ENCODER_ADAMSS, ENCODER_TRAINING, Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "token-classification"


class TokenClassificationColumns(SpecModel):
    tokens: Column = "tokens"
    """Column with the list of words; a string is split at white space."""
    tags: Column = "tags"
    """Column with the tag of each word, such as B-PER or O."""


class TokenClassification(TaskRecord):
    name = NAME
    title = "Token classification"
    training_half = "adamss_core.training.tasks.token_classification:TokenClassification"
    column_sets = (("tokens", "tags"),)
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"tokens": "words", "tags": "label"}
    field_titles: ClassVar[Mapping[str, str]] = {"tokens": "Words"}
    target = "tags"
    answers = frozenset({"tags"})
    needs = "words and as many tags"
    metrics = (ENTITY_F1, ACCURACY, LOSS)
    survey_rules = (too_many_classes, no_classes, one_class)
    answer_field = "tags"
    answer_columns = (AnswerColumn("tags", "Tags", separator=" "),)
    auto_model = "AutoModelForTokenClassification"
    peft_type = "TOKEN_CLS"
    processors = (TOKENIZER, FAST_TOKENIZER)
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"tokens": "tokens", "tags": "tags"},
            adamss=ENCODER_ADAMSS,
            training=ENCODER_TRAINING,
            reason="Not measured on a task of its own: the values that were measured for the classification of texts.",
        ),
    )

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        words, tags = words_of(cells["tokens"]), [class_name(tag) for tag in words_of(cells["tags"])]
        if not any(words):
            raise Unusable("without words")
        if len(words) != len(tags):
            raise Unusable("with another number of tags than words")
        if not all(tags):
            raise Unusable("with an empty tag")
        return {"tokens": words, "tags": tags}

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cells["tags"]))


RECORDS = (TokenClassification(),)
