"""Remark on columns that are unsuitable as labels, or whose labels may not be what was meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from adamss_core.spec.chat import ORDER, USER_LAST, list_parts
from adamss_core.spec.labels import class_name, null_words, variants
from adamss_core.spec.suggestion import LABELS, ONE_HOT
from adamss_core.spec.tasks.token_classification import WORDS
from service.datasets.rows import Notice, counted
from service.datasets.splits import role_of

if TYPE_CHECKING:
    from service.datasets.profiling import Column

SPLIT_COLUMNS = frozenset({"split", "splits", "set", "subset", "partition", "fold"})
WEIGHT_COLUMNS = frozenset({"weight", "weights", "sample_weight", "example_weight", "row_weight"})
MIN_ONE_HOT_ROWS = 10
SHOWN = 5  # groups or spellings that a notice names


def column_notices(columns: Mapping[str, Column], rows: int) -> Iterator[Notice]:
    yield from _about_one_hot(columns, rows)
    yield from _about_unread(columns)
    for name, column in columns.items():
        is_nested = bool(column.types & {"list", "messages"})
        if column.type == "vector":
            yield Notice(
                "vectors",
                name,
                f"Column '{name}' holds lists of {column.longest} numbers from 0 to 1. As labels they are not read: "
                "write the names of each row's classes as a list, or a column of 0 and 1 for each class.",
            )
        if is_nested and len(column.types) > 1:
            yield Notice("mixed_types", name, f"Column '{name}' holds lists in some rows and plain values in others.")
        yield from _about_chats(name, column)
        if not column.is_listed or rows < 2 or (is_nested and name.strip().lower() in WORDS):
            continue  # words, such as In beside in, are no labels
        if not is_nested:
            yield from _about_classes(name, column, rows)
        if null := [] if column.is_numeric else null_words(column.values):
            yield Notice("nan_as_text", name, f"Column '{name}' holds {describe_null_words(null, column.values)}")
        # A column whose values never repeat holds no classes.
        if len(column.values) < column.values.total() and (groups := variants(column.values)):
            yield Notice("label_variants", name, f"Column '{name}' holds {describe_variants(groups, column.values)}")
        yield from _about_spellings(name, column)


def _about_one_hot(columns: Mapping[str, Column], rows: int) -> Iterator[Notice]:
    """Yield a notice on columns that each say of one class whether a row has it."""
    if rows < MIN_ONE_HOT_ROWS or any(name.strip().lower() in LABELS for name in columns):
        return
    found = [
        name
        for name, column in columns.items()
        if column.filled == rows and set(column.values) in ONE_HOT and column.types <= {"integer", "boolean"}
    ]
    if len(found) > 1:
        named = ", ".join(f"'{name}'" for name in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield Notice(
            "one_hot",
            None,
            f"The columns {named}{more} are 0 or 1 in every row, so that each may be a class. As classes of one "
            "text, list them as dataset.label, with problem_type multi_label_classification; or name one of them.",
        )


def _about_unread(columns: Mapping[str, Column]) -> Iterator[Notice]:
    """Yield a notice on columns that say how to use the rows, which no job reads."""
    for name, column in columns.items():
        usual = name.strip().lower()
        splits = {role_of([value]) for value in column.values} if usual in SPLIT_COLUMNS and column.is_listed else set()
        if len(splits - {None}) > 1:
            yield Notice(
                "split_column",
                name,
                f"Column '{name}' names a split for each row, but it is not read: rows of all splits are trained on "
                "and held out alike. Upload each split as a file of its own, or a zip of train.csv, validation.csv and "
                "test.csv.",
            )
        if usual in WEIGHT_COLUMNS and column.is_numeric and len(column.values) > 1:
            yield Notice(
                "weight_column",
                name,
                f"Column '{name}' is not read as weights: every row counts the same. Weights can be given to whole "
                "data sets, in dataset.train, and to classes, as training.class_weights.",
            )


def describe_variants(groups: list[list[str]], rows: Mapping[str, int]) -> str:
    """Complete "the column holds ..." for classes that differ in case or blanks only."""
    shown = "; ".join(
        " beside ".join(f"{name} ({counted(rows[value])})" for name, value in zip(_told(group), group, strict=True))
        for group in groups[:SHOWN]
    )
    more = f"; and {len(groups) - SHOWN} more such groups" if len(groups) > SHOWN else ""
    return f"{shown}{more}: as labels these are different classes. Write each class in one way."


def _told(group: list[str]) -> list[str]:
    """Quote names so that they can be told apart: with escapes where the encoding of a letter differs only."""
    looks = {unicodedata.normalize("NFC", name) for name in group}
    return [repr(name) if len(looks) == len(group) else ascii(name) for name in group]


def describe_null_words(words: list[str], rows: Mapping[str, int]) -> str:
    """Complete "the column holds ..." for classes by whose name tables spell a missing value."""
    shown = " and ".join(f"{word!r} in {counted(rows[word])}" for word in words[:SHOWN])
    return f"{shown}; as a label it is an ordinary class. Leave the cells empty if the rows have no label."


def _about_chats(name: str, column: Column) -> Iterator[Notice]:
    counts = column.parts.most_common()
    if parts := [(part, rows) for part, rows in counts if part not in ORDER]:
        yield Notice(
            "parts_of_chats",
            name,
            f"The chats of '{name}' have more than questions and answers: {list_parts(parts)}. A model's chat template "
            "may not show all of it: preview the data set with the model.",
        )
    if order := [(part, rows) for part, rows in counts if part in ORDER]:
        untrained = " What stands behind the last answer is not trained on." if USER_LAST in column.parts else ""
        yield Notice(
            "order_of_chats",
            name,
            f"The chats of '{name}' are not user and assistant in turn: {list_parts(order)}. Where a model's chat "
            "template refuses that, turns of one role are joined by a blank line, and preview and run name rows that "
            f"it still refuses.{untrained}",
        )


def _about_classes(name: str, column: Column, rows: int) -> Iterator[Notice]:
    if len(column.values) == 1 and column.filled == rows:
        value = next(iter(column.values))
        yield Notice(
            "one_value",
            name,
            f"Column '{name}' is {value!r} in every row; as a label it has one class only.",
        )
    single = [value for value, count in column.values.items() if count == 1]
    if 1 < len(column.values) <= rows / 2 and single:
        yield Notice(
            "rare_classes",
            name,
            f"{len(single)} of the {len(column.values)} values of '{name}' occur in one row only (such as "
            f"{single[0]!r}); as classes they cannot be in both training and evaluation data.",
        )


def _about_spellings(name: str, column: Column) -> Iterator[Notice]:
    """Yield a notice on values that stand in other rows as well, written in another way."""
    merged = {text: count for text, count in column.respelled.items() if count < column.values.get(class_name(text), 0)}
    if merged:
        named = [f"{text!r} in {counted(count)} as {class_name(text)!r}" for text, count in merged.items()]
        more = f"; and {len(named) - SHOWN} more spellings" if len(named) > SHOWN else ""
        yield Notice(
            "label_spellings",
            name,
            f"As labels, values of column '{name}' are one class however they are written: "
            f"{'; '.join(named[:SHOWN])}{more}.",
        )
