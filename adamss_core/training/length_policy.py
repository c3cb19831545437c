"""Encode rows into examples and apply the length policy (truncate, drop or raise)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from adamss_core.training.batches import Encoded, joined
from adamss_core.training.data import Data, Rows, count_and_hash, joined_rows
from adamss_core.training.errors import Stopped, TrainingError, bad_data
from adamss_core.training.request import Reporter
from adamss_core.training.tasks import Task

SHOWN = 5  # row numbers in an error
PIECE = 20_000  # rows encoded at a time
MANY = 0.1  # share of the rows whose loss is a reason to doubt the result


def encode_data(
    task: Task, data: Data, processor: Any, limit: int, reporter: Reporter
) -> tuple[Data, Encoded, Encoded]:
    """Split and encode training and evaluation rows, apply the length policy, and report what is changed.

    Args:
        limit: tokens per example.

    Returns:
        The data with an entry for each example that is left, the training examples, and the evaluation examples.

    Raises:
        TrainingError: bad_data, where the policy refuses over-long rows, or no row is left.
        Stopped: the reporter asked for it.
    """
    lost: list[dict[str, Any]] = []
    train_rows, train = _Encoder(task, data.classes, "training", processor, limit, reporter, lost)(data.train)
    held_out, evaluation = _Encoder(task, data.classes, "evaluation", processor, limit, reporter)(data.evaluation)
    facts = data.held_out | count_and_hash(held_out)
    data = replace(data, train=train_rows, evaluation=held_out, held_out=facts, warnings=tuple(lost))
    return data, train, evaluation


def encode_test(
    task: Task, rows: Rows, classes: list[str], processor: Any, limit: int, reporter: Reporter
) -> tuple[Rows, Encoded]:
    """Encode test rows as `encode_data` does with the others; return an entry for each example, and the examples."""
    return _Encoder(task, classes, "test", processor, limit, reporter)(rows)


@dataclass(frozen=True)
class _Encoder:
    """Callable: rows in, an entry for each example that is left and the examples out.

    Attributes:
        part: "training", "evaluation" or "test", for events and errors.
        lost: receives a warning for each reason by which many rows are left out.
    """

    task: Task
    classes: list[str]
    part: str
    processor: Any
    limit: int
    reporter: Reporter
    lost: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, rows: Rows) -> tuple[Rows, Encoded]:
        rows, examples = self._encode(rows)
        for remark in self.task.remarks(rows, examples, self.part):
            self.reporter.event(remark.code, remark.message, remark.data)
        if examples.over_length:
            rows, examples = self._apply_policy(rows, examples)
        return self._drop_untrained(rows, examples)

    def _encode(self, rows: Rows) -> tuple[Rows, Encoded]:
        """Encode in pieces and report between them: a silent process would be taken for a hanging one."""
        entries, pieces = [], []
        for start in range(0, len(rows), PIECE):
            end = min(start + PIECE, len(rows))
            piece = self.task.split_rows(rows.take(range(start, end)), self.processor)
            entries.append(piece)
            pieces.append(self.task.encode(piece, self.classes, self.processor, self.limit))
            if end < len(rows):
                facts = {"rows": end, "of": len(rows), "data": self.part}
                self.reporter.event("rows_encoded", f"{end} of {len(rows)} {self.part} rows are encoded.", facts)
                if self.reporter.stop_requested():
                    raise Stopped("stopped while the data were encoded")
        return joined_rows(entries), joined(pieces)

    def _apply_policy(self, rows: Rows, examples: Encoded) -> tuple[Rows, Encoded]:
        policy, over_length = self.task.spec.training.over_length, set(examples.over_length)
        if policy == "raise":
            raise self._refused(rows.take(examples.over_length))
        within = [i for i in range(len(rows)) if i not in over_length]
        if policy == "drop" and not within:
            raise bad_data(
                f"Every one of the {self.part} rows is longer than {self.limit} tokens, and the job leaves such rows "
                "out.",
                hint='Raise training.max_length, or set training.over_length to "truncate".',
                where="training.over_length",
            )
        event, outcome = ("rows_truncated", "were cut") if policy == "truncate" else ("rows_dropped", "are left out")
        affected = rows.take(examples.over_length)
        message = f"{self._count(affected)} are longer than {self.limit} tokens and {outcome}."
        self.reporter.event(event, message, self._facts(affected, rows))
        if policy == "drop":
            self._warn(event, message, affected, rows)
        return (rows, examples) if policy == "truncate" else (rows.take(within), examples.take(within))

    def _refused(self, rows: Rows) -> TrainingError:
        shown = ", ".join(map(str, list(dict.fromkeys(rows.numbers))[:SHOWN]))
        return bad_data(
            f"{self._count(rows)} are longer than {self.limit} tokens, such as row {shown}.",
            hint='Raise training.max_length, or set training.over_length to "truncate" or "drop".',
            where="training.over_length",
        )

    def _drop_untrained(self, rows: Rows, examples: Encoded) -> tuple[Rows, Encoded]:
        """Drop examples without loss terms, as where a prompt alone fills the limit."""
        trained = examples.loss_terms.nonzero().flatten().tolist()
        if len(trained) == len(rows):
            return rows, examples
        if not trained:
            raise bad_data(
                f"None of the {rows.row_count} {self.part} rows has anything to learn within its first {self.limit} "
                "tokens.",
                hint=self._remedy(),
                where="training.max_length",
            )
        kept = set(trained)
        missing = rows.take([i for i in range(len(rows)) if i not in kept])
        event, left = "rows_without_targets", f"within their first {self.limit} tokens"
        message = f"{self._count(missing)} are left out: they have nothing to learn {left}."
        self.reporter.event(event, message, self._facts(missing, rows))
        self._warn(event, message, missing, rows)
        return rows.take(trained), examples.take(trained)

    def _warn(self, code: str, message: str, affected: Rows, rows: Rows) -> None:
        """Keep a warning of the result where many rows are left out."""
        if affected.row_count < MANY * rows.row_count:
            return
        said = (
            f"{message} Of {rows.row_count} rows they are {affected.row_count / rows.row_count:.0%}. {self._remedy()}"
        )
        self.lost.append({"code": code, "message": said, "data": "train", "causes": []})

    def _remedy(self) -> str:
        if self.limit < self.task.spec.training.max_length:
            return f"The model takes {self.limit} tokens at most: shorten the texts, or use a model that takes more."
        return "Raise training.max_length as far as the model allows, or shorten the texts."

    def _count(self, affected: Rows) -> str:
        """Count rows in words; their examples as well, where a row has several."""
        rows = f"{affected.row_count} {self.part} rows"
        return rows if affected.row_count == len(affected) else f"{len(affected)} examples of {rows}"

    def _facts(self, affected: Rows, rows: Rows) -> dict[str, Any]:
        return {
            "rows": affected.row_count,
            "examples": len(affected),
            "of": rows.row_count,
            "max_length": self.limit,
            "data": self.part,
        }
