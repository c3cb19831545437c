"""How a row is read for a job: which columns, what they must hold, and why a row cannot be used.

Service and training run read rows through this module, so that a dry run counts what the run will find.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adamss_core.spec.chat import looks_like_chat, wrong_with_chat
from adamss_core.spec.job import JobSpec
from adamss_core.spec.labels import as_text, class_name

Cells = dict[str, Any]


class Unusable(Exception):
    """A row without what the job needs; the text completes "rows are left out: 3 ..."."""


@dataclass(frozen=True)
class Reader:
    """Callable: a row of the data set in, what the job needs of it out.

    Attributes:
        columns: field of the job's `dataset` block -> name of the column.
    """

    columns: Mapping[str, str]
    read: Callable[[Cells], Cells]

    def __call__(self, row: Mapping[str, Any]) -> Cells:
        """Field -> value, as the task takes it.

        Raises:
            Unusable: something is missing in the row.
            KeyError: a column is missing.
        """
        return self.read({field: row[name] for field, name in self.columns.items()})


def reader_of(spec: JobSpec) -> Reader:
    """How the job's rows are read."""
    data = spec.dataset
    if spec.task == "token-classification":
        return Reader({"tokens": data.tokens, "tags": data.tags}, _tagged)
    if spec.task == "image-classification":
        return Reader({"image": data.image, "label": data.label}, _image)
    if spec.task == "text-generation":
        return Reader(generation_columns(spec), _generation)
    columns = {"text": data.text, "label": data.label}
    if data.text_pair is not None:
        columns["text_pair"] = data.text_pair
    label = {
        "single_label_classification": _class,
        "multi_label_classification": lambda cell: classes_of(cell, data.label_separator),
        "regression": number_of,
    }[spec.problem]
    return Reader(columns, lambda cells: _labelled_text(cells, label))


def generation_columns(spec: JobSpec) -> dict[str, str]:
    """Messages, else prompt and completion, else text."""
    data = spec.dataset
    if data.messages is not None:
        return {"messages": data.messages}
    if data.prompt is not None and data.completion is not None:
        return {"prompt": data.prompt, "completion": data.completion}
    return {"text": data.text}


def why_left_out(reasons: Counter[str]) -> str:
    """Such as "3 without a text, 1 whose label is not a number"."""
    return ", ".join(f"{rows} {reason}" for reason, rows in reasons.most_common())


def number_of(cell: Any) -> float:
    """A finite number, however it was written."""
    text = as_text(cell)
    if not text:
        raise Unusable("without a label")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if isinstance(cell, bool) or not math.isfinite(value):
        raise Unusable("whose label is not a number")
    return value


def classes_of(cell: Any, separator: str | None) -> tuple[str, ...]:
    """The classes of a row, each once and in order; none for an empty list or text."""
    if cell is None or isinstance(cell, dict):
        raise Unusable("without a label")
    if isinstance(cell, list):
        names = [class_name(value) for value in cell]
    else:
        text = class_name(cell)
        names = text.split(separator) if separator is not None else [text]
    return tuple(sorted({name.strip() for name in names if name.strip()}))


def words_of(cell: Any) -> list[str]:
    """A list as it is, a text split at white space."""
    if isinstance(cell, list):
        return [as_text(value) for value in cell]
    return as_text(cell).split()


def image_path(folder: Path, name: str) -> Path | None:
    """Of an image file in `folder`; None where the name leads out of it."""
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts or "\0" in name else folder / path


def _class(cell: Any) -> str:
    if not isinstance(cell, list | dict) and (name := class_name(cell)):
        return name
    raise Unusable("without a label")


def _labelled_text(cells: Cells, label: Callable[[Any], Any]) -> Cells:
    found: Cells = {}
    for field in ("text", "text_pair"):
        if field in cells:
            found[field] = as_text(cells[field])
            if not found[field] or isinstance(cells[field], list | dict):
                raise Unusable("without a text")
    return found | {"label": label(cells["label"])}


def _tagged(cells: Cells) -> Cells:
    words, tags = words_of(cells["tokens"]), words_of(cells["tags"])
    if not any(words):
        raise Unusable("without words")
    if len(words) != len(tags):
        raise Unusable("with another number of tags than words")
    if not all(tags):
        raise Unusable("with an empty tag")
    return {"tokens": words, "tags": tags}


def _image(cells: Cells) -> Cells:
    name = as_text(cells["image"])
    if not name:
        raise Unusable("without an image")
    return {"image": name, "label": _class(cells["label"])}


def _generation(cells: Cells) -> Cells:
    if "messages" in cells:
        messages = cells["messages"]
        if not isinstance(messages, list) or not looks_like_chat(messages):
            raise Unusable("without messages")
        if (wrong := wrong_with_chat(messages)) is not None:
            raise Unusable(f"where the row {wrong}")
        return cells
    texts = {field: "" if cell is None else str(cell) for field, cell in cells.items()}
    learnt = "completion" if "completion" in texts else "text"
    if not texts[learnt].strip():
        raise Unusable(f"without a {learnt}")
    return texts
