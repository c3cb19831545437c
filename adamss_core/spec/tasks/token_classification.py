"""Token classification: a tag for each word, such as entities in IOB tags or parts of speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from adamss_core.spec.cells import Cells, Unusable, words_of
from adamss_core.spec.labels import class_name
from adamss_core.spec.spec_model import Column, SpecModel
from adamss_core.spec.suggestion import TEXTS, Columns, Suggestion
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import FAST_TOKENIZER, TOKENIZER, FieldKind, TaskRecord
from adamss_core.spec.tasks.classes import (
    CLASS_TRAINING,
    no_classes,
    one_class,
    too_many_classes,
    unknown_weighted_class,
)
from adamss_core.spec.tasks.metrics import ACCURACY, ENTITY_F1, LOSS
from adamss_core.spec.tasks.preset import ENCODER_ADAMSS, ENCODER_TRAINING, Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "token-classification"
# Usual names, the most telling first.
WORDS = ("tokens", "words", "token", "word", "form")
TAGS = ("tags", "ner_tags", "labels", "label", "ner", "tag", "upos", "pos_tags", "pos", "chunk_tags")


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
    training_fields = CLASS_TRAINING
    survey_rules = (too_many_classes, no_classes, one_class, unknown_weighted_class)
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
            training=ENCODER_TRAINING | {"learning_rate": 2e-2},
            reason="Measured with `make bench-rates` (MiniLM tags words that begin with a capital, 1,500 tweets, two "
            "epochs, one seed): F1 of 67.9, 72.6 and 72.3 at 0.01, 0.02 and 0.04, and at best 72.2 with LoRA r=1.",
        ),
    )

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find a list of words beside a list of as many tags."""
        lists = columns.of_type("list")
        words = next((name for name in columns.named((*WORDS, *TEXTS)) if name in lists), None)
        if words is None:
            return None
        others = [
            name for name in columns.of_type("list", "vector") if name != words and _same_lengths(columns, name, words)
        ]
        usual = [name for name in columns.named(TAGS) if name in others]
        if not others:
            return _of_other_lengths(self.name, columns, lists)
        tags = (usual or others)[0]
        reason = f"{words!r} holds words and {tags!r} as many tags"
        return Suggestion(self.name, None, {"tokens": words, "tags": tags}, len(others) == 1, 3, reason)

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


def _of_other_lengths(task: str, columns: Columns, lists: list[str]) -> Suggestion | None:
    """Return words and tags by their usual names, of which some rows have not as many."""
    words = [name for name in columns.named(WORDS) if name in lists]
    tags = [name for name in columns.named(TAGS) if name in lists and name not in words]
    if not words or not tags:
        return None
    reason = f"{words[0]!r} holds words and {tags[0]!r} tags, in some rows not as many"
    return Suggestion(task, None, {"tokens": words[0], "tags": tags[0]}, False, 2, reason)


def _same_lengths(columns: Columns, one: str, other: str) -> bool:
    first, second = columns.by_name[one], columns.by_name[other]
    return all(first[name] == second[name] for name in ("min_length", "max_length", "mean_length"))


RECORDS = (TokenClassification(),)
