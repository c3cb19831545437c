"""Suggest what a job on a data set would be: a task's record says it, from the profile of the columns.

Names count where they are usual for what a task reads, types where they leave little else. A suggestion is certain
where no other column would do as well, and likely where one was chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Confidence = Literal["certain", "likely"]
ColumnMapping = Mapping[str, str | list[str]]  # field of a job's `dataset` block -> its column, or its columns

# Usual names, the most telling first.
TEXTS = (
    *("text", "sentence", "review", "content", "comment", "message", "tweet", "document", "body", "utterance"),
    *("description", "headline", "title", "abstract", "question", "query", "prompt", "input"),
)
LABELS = (
    *("label", "labels", "class", "classes", "category", "categories", "sentiment", "target", "intent", "emotion"),
    *("topic", "tags", "tag", "rating", "stars", "score", "is_spam", "y"),
)
ONE_HOT = ({"0", "1"}, {"true", "false"})  # names of the values of a class's own column
SURE_LABELS = LABELS[:3]  # whatever they hold
SURE_TEXTS = TEXTS[:3]  # however short they are, and however often they are repeated
TEXT_LENGTH = 20.0  # mean characters of a column that holds texts, under an unusual name


@dataclass(frozen=True)
class Suggestion:
    """A job that a data set would do for.

    Attributes:
        dataset: what the job's `dataset` block names.
        evidence: number of the columns that were found by a usual name or a telling type.
        reason: by what it was found.
    """

    task: str
    problem_type: str | None
    dataset: ColumnMapping
    is_certain: bool
    evidence: int
    reason: str

    @property
    def confidence(self) -> Confidence:
        return "certain" if self.is_certain else "likely"


@dataclass(frozen=True)
class Choice:
    """A column that may be what a field reads.

    Attributes:
        is_usual: whether its name says so.
        is_only: whether no other column's does.
    """

    column: str
    is_usual: bool
    is_only: bool

    @property
    def is_certain(self) -> bool:
        return self.is_usual and self.is_only


class Columns:
    """The filled columns of a data set, as records ask for them.

    Attributes:
        by_name: name -> the column's profile.
    """

    def __init__(
        self, columns: Iterable[Mapping[str, Any]], rows: int, has_images: bool, given: Mapping[str, str | list[str]]
    ) -> None:
        """Read a profile.

        Args:
            columns: of the profile, as it is stored.
            has_images: whether the column `image` names files of the data set.
            given: field -> column, as a spec has them; a single column counts as named after the field.
        """
        self._rows, self.has_images = rows, has_images
        self.by_name = {column["name"]: column for column in columns if column["type"] != "empty"}
        usual = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(self.by_name)}
        self._given = {field: name for field, name in given.items() if isinstance(name, str) and name in self.by_name}
        self._usual = usual | self._given

    def named(self, names: Iterable[str]) -> list[str]:
        """Return the columns that have one of the usual names, in the order of the names."""
        return [self._usual[name] for name in names if name in self._usual]

    def of_type(self, *types: str) -> list[str]:
        return [name for name, column in self.by_name.items() if column["type"] in types]

    def of_marks(self) -> list[str]:
        """Return the columns without gaps that are 0 or 1, or false or true, in every row and not always the same."""
        return [
            name
            for name, column in self.by_name.items()
            if column["type"] in ("integer", "boolean") and not column["empty"]
            if set(column["values"] or ()) in ONE_HOT
        ]

    def both_texts(self, names: Sequence[str], *more: str) -> tuple[str, str] | None:
        """Return the columns of two usual names, if both are there and hold text, or the second one of `more` types."""
        first, second = (self._usual.get(name, "") for name in names)
        is_fit = first in self.of_type("string") and second in self.of_type("string", *more)
        return (first, second) if is_fit else None

    def repeats(self, name: str) -> bool:
        """Return whether the values may be classes: few, short, and most of them in several rows."""
        column = self.by_name[name]
        return column["values"] is not None and 1 < column["distinct"] <= max(2, self._rows / 2)

    def text(self) -> Choice | None:
        """Return the column with the text: by its name, else the one with the longest values."""
        if "text" in self._given:
            return Choice(self._given["text"], is_usual=True, is_only=True)
        texts = [name for name in self.of_type("string", "mixed") if not self.repeats(name)]
        usual = [name for name in self.named(TEXTS) if name in texts] or self.repeated_texts()
        if usual:
            return Choice(usual[0], is_usual=True, is_only=len(usual) == 1)
        longest = max(texts, key=lambda name: float(self.by_name[name]["mean_length"]), default=None)
        if longest is None or self.by_name[longest]["mean_length"] < TEXT_LENGTH:
            return None
        return Choice(longest, is_usual=False, is_only=len(texts) == 1)

    def repeated_texts(self) -> list[str]:
        """Return the columns under a text's usual name that hold texts though most of them are in several rows."""
        sure, strings = self.named(SURE_TEXTS), self.of_type("string", "mixed")
        return [
            name
            for name in self.named(TEXTS)
            if name in strings and (name in sure or self.by_name[name]["mean_length"] >= TEXT_LENGTH)
        ]

    def label(self, taken: Collection[str]) -> Choice | None:
        """Return the column with the label: by its name, else the only other one whose values repeat."""
        if "label" in self._given:
            return Choice(self._given["label"], is_usual=True, is_only=True)
        if usual := [name for name in self.named(LABELS) if name not in taken and self.may_be_label(name)]:
            return Choice(usual[0], is_usual=True, is_only=len(usual) == 1)
        others = [name for name in self.by_name if name not in taken and self.repeats(name)]
        return Choice(others[0], is_usual=False, is_only=True) if len(others) == 1 else None

    def may_be_label(self, name: str) -> bool:
        """Return whether a column under a label's usual name may hold labels; a task's own rules refuse the rest."""
        column = self.by_name[name]
        is_plain = column["type"] in ("float", "integer", "boolean", "list", "vector", "mixed")
        return is_plain or name in self.named(SURE_LABELS) or column["distinct"] == 1 or self.repeats(name)
