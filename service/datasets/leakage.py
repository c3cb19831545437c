"""Warn of rows that repeat: evaluation rows in the training data, duplicates that a split may separate, contradictions.

Computed from the row hashes of each upload, without reading the rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from adamss_core.spec import JobSpec, record_of
from service.datasets.repeated_rows import Overlap, compare, describe_contradiction
from service.datasets.row_hashes import RowHashes
from service.http.context import Caller
from service.shared.processes.ask import ask
from service.shared.processes.environment import for_sandbox
from service.shared.processes.spawned_process import python

IN_PROCESS_ROWS = 200_000  # beyond that, a child process compares, so that the API's memory does not grow
COMMAND = python("service.datasets.repeated_rows")
SECONDS = 300.0


def leakage(caller: Caller, train_id: str, eval_id: str | None, columns: Sequence[str]) -> Overlap | None:
    """Count evaluation rows that repeat training rows; without `eval_id`, training rows that repeat one another.

    Args:
        columns: columns to compare: the model's inputs, not the label.

    Returns:
        The overlap; None for data sets without hashes of these columns.
    """
    paths = [_hashes(caller, name) for name in (train_id, eval_id) if name is not None]
    try:
        return _compared(tuple(paths), tuple(columns), None)
    except (KeyError, FileNotFoundError):
        return None


def _hashes(caller: Caller, dataset_id: str) -> Path:
    return caller.host_files.local(caller.settings.files.dataset_hashes(dataset_id))


def leakage_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Describe the leakage in a job's data; return no warning if none is known."""
    columns = record_of(spec).input_columns(spec)
    return [*_held_out_warnings(caller, spec, columns), *test_warnings(caller, spec)]


def test_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Compare the test rows with those that the job trains on or chooses its checkpoint by."""
    test, columns = spec.dataset.test, record_of(spec).input_columns(spec)
    if test is None:
        return []
    others = [(one.id, "a training") for one in spec.dataset.training_sets]
    others += [] if spec.dataset.eval is None else [(spec.dataset.eval, "an evaluation")]
    return [
        f"{overlap.repeated:,} of {overlap.rows:,} test rows have the {_named(columns)} of {kind} row, so the "
        "test scores may be too good. Remove them from one of the two data sets."
        for other, kind in others
        if (overlap := leakage(caller, other, test, columns)) is not None and overlap.repeated
    ]


def _named(columns: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in columns)


def _held_out_warnings(caller: Caller, spec: JobSpec, columns: Sequence[str]) -> list[str]:
    ids = [one.id for one in spec.dataset.training_sets]
    if spec.dataset.eval is None:
        found = [(leakage(caller, one, None, columns), f"repeat another row's {_named(columns)}") for one in ids]
        found += [
            (leakage(caller, one, other, columns), f"of {other} repeat the {_named(columns)} of a row of {one}")
            for one, other in combinations(ids, 2)
        ]
        return [
            f"{overlap.repeated:,} of {overlap.rows:,} rows {repeat}, so the split may put copies on both sides and "
            "the measured quality may be too good. Remove the copies, or name other data as dataset.eval."
            for overlap, repeat in found
            if overlap is not None and overlap.repeated
        ]
    return [
        f"{overlap.repeated:,} of {overlap.rows:,} evaluation rows have the {_named(columns)} of a training row, so "
        "the measured quality may be too good. Remove them from one of the two data sets."
        for one in ids
        if (overlap := leakage(caller, one, spec.dataset.eval, columns)) is not None and overlap.repeated
    ]


def contradiction_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Describe training rows of one content under several labels, where each row has one class."""
    record = record_of(spec)
    if not record.is_stratified or record.target is None:
        return []
    columns = record.columns(spec)
    label = columns.pop(record.target)
    warnings = []
    for one in spec.dataset.training_sets:
        try:
            found = _compared((_hashes(caller, one.id),), tuple(columns.values()), label)
        except (KeyError, FileNotFoundError):
            continue
        if found.repeated:
            warnings.append(describe_contradiction(found, list(columns.values()), label))
    return warnings


@lru_cache(maxsize=512)  # data sets never change
def _compared(paths: tuple[Path, ...], columns: tuple[str, ...], label: str | None) -> Overlap:
    data = [RowHashes(path) for path in paths]
    for hashes in data:
        hashes.require(columns if label is None else (*columns, label))
    if sum(hashes.rows for hashes in data) > IN_PROCESS_ROWS:
        return _compared_in_child(paths, columns, label)
    return compare(paths, columns, label)


def _compared_in_child(paths: tuple[Path, ...], columns: tuple[str, ...], label: str | None) -> Overlap:
    order = {"columns": columns, "paths": [str(path) for path in paths], "label": label}
    with TemporaryDirectory(prefix="adamss-overlap-") as name:
        folder = Path(name)
        reply = ask(COMMAND, order, folder, seconds=SECONDS, environment=for_sandbox(os.environ, folder))
    if reply.answer is None:
        raise RuntimeError(f"comparing data sets failed with status {reply.exit_code}: {reply.log}")
    return Overlap(**reply.answer)
