"""The first examples of a data set as a job's model will see them: `python -m adamss_core.training.preview`.

Reads its order in the current folder and leaves the answer there: {"examples": [...], ...} or {"error": {...}}. Only
the tokenizer or image processor is loaded, no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.spec import JobSpec
from adamss_core.spec.tasks.base import FieldKind
from adamss_core.training.base_model import Source
from adamss_core.training.data import Rows, in_order
from adamss_core.training.errors import TrainingError, bad_data, translated_errors
from adamss_core.training.tasks import task_on

# Part of an example -> kind of the field whose cell it is, as the row has it.
OWN: dict[str, FieldKind] = {"words": "words", "image": "image"}


@dataclass(frozen=True)
class PreviewOrder:
    """A job's spec and rows to preview.

    Attributes:
        rows: JSONL with the first rows of a data set; images lie in the folder of the same name without suffix.
        model: a local folder, or a hub id.
        count: examples to show.
    """

    spec: JobSpec
    rows: Path
    model: str
    revision: str | None
    count: int

    @classmethod
    def read(cls, folder: Path) -> PreviewOrder:
        fields = read_order(folder)
        spec = JobSpec.model_validate(fields.pop("spec"))
        return cls(spec=spec, rows=Path(fields.pop("rows")), **fields)


def preview(order: PreviewOrder) -> dict[str, Any]:
    """Plain values: the examples, how many of the rows are cut or cannot be used, and the task's remarks.

    Raises:
        TrainingError: model or rows do not fit the job.
    """
    task = task_on(order.spec, order.model, order.revision)
    rows = task.read(order.rows)
    if not len(rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in rows.left_out.most_common())
        raise bad_data(
            f"None of the first rows has {task.record.needs}: {reasons}.",
            hint="Name the columns that have.",
            where="dataset",
        )
    classes = class_names(rows, task.record.target)
    source = Source(order.model, order.revision, order.spec.base_model, tuple(classes))
    processor = task.load_processor(source)
    limit = task.limit(processor, AutoConfig.from_pretrained(source.path, **source.options))
    left_out = rows.left_out
    rows = task.split_rows(rows, processor)
    encoded = task.encode(rows, classes, processor, limit)
    count = min(order.count, len(rows))
    kinds = {kind: field for field, kind in task.record.field_kinds.items()}
    own = {name: kinds[kind] for name, kind in OWN.items() if kind in kinds}
    return {
        "limit": limit or None,
        "checked": rows.row_count + left_out.total(),
        "over_length": rows.take(encoded.over_length).row_count,
        "left_out": dict(left_out),
        "remarks": [
            {"code": remark.code, "message": remark.message} for remark in task.remarks(rows, encoded, "examined")
        ],
        "examples": [
            {"row": rows.numbers[i], "target": _cell(rows, task.record.target, i)}
            | task.example(processor, encoded, i)
            | {name: _cell(rows, field, i) for name, field in own.items()}
            for i in range(count)
        ],
    }


def class_names(rows: Rows, target: str | None) -> list[str]:
    """Return the classes of these rows; the job's own may be more, which changes no token."""
    names: set[str] = set()
    for label in rows.columns.get(target or "", []):
        names.update([label] if isinstance(label, str) else label if isinstance(label, Sequence) else [])
    return in_order(names)


def _cell(rows: Rows, field: str | None, index: int) -> Any:
    """Return a cell in plain values; None for a field that the task does not have."""
    value = None if field is None else rows[field][index]
    return list(value) if isinstance(value, (tuple, list)) else value


def main() -> None:
    folder = Path.cwd()
    transformers_logging.set_verbosity_error()
    answer: dict[str, Any]
    try:
        with translated_errors():
            answer = preview(PreviewOrder.read(folder))
    except TrainingError as error:
        answer = {
            "error": {"code": error.code, "message": error.message, "hint": error.hint, "where": error.where},
        }
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
