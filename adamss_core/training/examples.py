"""From rows to examples of bearable length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adamss_core.training.batches import Encoded, joined
from adamss_core.training.data import Data, Rows, count_and_hash
from adamss_core.training.errors import Stopped, bad_data
from adamss_core.training.request import Reporter
from adamss_core.training.tasks import Task

SHOWN = 5  # row numbers in an error
PIECE = 20_000  # rows that are encoded at a time


def within_limit(
    task: Task, data: Data, processor: Any, limit: int, reporter: Reporter
) -> tuple[Data, Encoded, Encoded]:
    """Encodes both parts; what becomes of over-long examples is the job's choice and an event.

    Raises:
        TrainingError: bad_data, where the job refuses them, or nothing would be left.
    """
    rows, train = _encode(task, data, data.train, "training", processor, limit, reporter)
    held, evaluation = _encode(task, data, data.evaluation, "evaluation", processor, limit, reporter)
    held_out = data.held_out | count_and_hash(held)
    return replace(data, train=rows, evaluation=held, held_out=held_out), train, evaluation


def _encode(
    task: Task, data: Data, rows: Rows, which: str, processor: Any, limit: int, reporter: Reporter
) -> tuple[Rows, Encoded]:
    rows, encoded = _bearable(task, data, rows, which, processor, limit, reporter)
    learnt = encoded.units.nonzero().flatten().tolist()
    if len(learnt) == len(rows):
        return rows, encoded
    missing = len(rows) - len(learnt)
    if not learnt:
        raise bad_data(
            f"None of the {missing} {which} rows has anything to learn within its first {limit} tokens.",
            hint="Raise training.max_length, or shorten the prompts.",
            where="training.max_length",
        )
    reporter.event(
        "rows_without_targets",
        f"{missing} {which} rows are left out: they have nothing to learn within their first {limit} tokens.",
        {"rows": missing, "of": len(rows), "max_length": limit, "data": which},
    )
    return rows.take(learnt), encoded.take(learnt)


def _bearable(
    task: Task, data: Data, rows: Rows, which: str, processor: Any, limit: int, reporter: Reporter
) -> tuple[Rows, Encoded]:
    encoded = _in_pieces(task, data, rows, which, processor, limit, reporter)
    long = encoded.over_length
    if not long:
        return rows, encoded
    policy, facts = (
        task.spec.training.over_length,
        {"rows": len(long), "of": len(rows), "max_length": limit, "data": which},
    )
    if policy == "raise":
        numbers = ", ".join(str(rows.numbers[i]) for i in long[:SHOWN])
        raise bad_data(
            f"{len(long)} {which} rows are longer than {limit} tokens, such as row {numbers}.",
            hint='Raise training.max_length, or set training.over_length to "truncate" or "drop".',
            where="training.over_length",
        )
    if policy == "truncate":
        reporter.event(
            "rows_truncated", f"{len(long)} {which} rows are longer than {limit} tokens and were cut.", facts
        )
        return rows, encoded
    cut = set(long)
    kept = [i for i in range(len(rows)) if i not in cut]
    if not kept:
        raise bad_data(
            f"Every one of the {which} rows is longer than {limit} tokens, and the job leaves such rows out.",
            hint='Raise training.max_length, or set training.over_length to "truncate".',
            where="training.over_length",
        )
    reporter.event("rows_dropped", f"{len(long)} {which} rows are longer than {limit} tokens and are left out.", facts)
    return rows.take(kept), encoded.take(kept)


def _in_pieces(
    task: Task, data: Data, rows: Rows, which: str, processor: Any, limit: int, reporter: Reporter
) -> Encoded:
    """Says between pieces how far it is: minutes of silence would be taken for a process that hangs."""
    pieces = []
    for start in range(0, len(rows), PIECE):
        end = min(start + PIECE, len(rows))
        pieces.append(task.encode(rows.take(range(start, end)), data.classes, processor, limit))
        if end < len(rows):
            facts = {"rows": end, "of": len(rows), "data": which}
            reporter.event("rows_encoded", f"{end} of {len(rows)} {which} rows are encoded.", facts)
            if reporter.stop_requested():
                raise Stopped("stopped while the data were encoded")
    return joined(pieces)
