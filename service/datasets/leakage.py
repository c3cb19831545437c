"""Warn of rows that repeat: evaluation rows in the training data, duplicates that a split may separate, contradictions.

Computed from the row hashes of each upload, without reading the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from adamss_core.spec import JobSpec, record_of
from service.datasets.repeated_rows import Overlap, compare, describe_contradiction
from service.datasets.row_hashes import RowHashes
from service.datasets.upload import environment
from service.http.context import Caller
from service.shared.processes.ask import ask
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
    paths = [caller.settings.files.dataset_hashes(name) for name in (train_id, eval_id) if name is not None]
    try:
        return _compared(tuple(paths), tuple(columns), None)
    except (KeyError, FileNotFoundError):
        return None


def leakage_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Describe the leakage in a job's data; return no warning if none is known."""
    columns = record_of(spec).input_columns(spec)
    return [*_held_out_warnings(caller, spec, columns), *_test_warnings(caller, spec, columns)]


def _test_warnings(caller: Caller, spec: JobSpec, columns: Sequence[str]) -> list[str]:
    """Compare the test rows with those that the job trains on or chooses its checkpoint by."""
    warnings = []
    for other, kind in ((spec.dataset.train, "a training"), (spec.dataset.eval, "an evaluation")):
        if spec.dataset.test is None or other is None:
            continue
        overlap = leakage(caller, other, spec.dataset.test, columns)
        if overlap is not None and overlap.repeated:
            warnings.append(
                f"{overlap.repeated:,} of {overlap.rows:,} test rows have the {_named(columns)} of {kind} row, so the "
                "test scores may be too good. Remove them from one of the two data sets."
            )
    return warnings


def _named(columns: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in columns)


def _held_out_warnings(caller: Caller, spec: JobSpec, columns: Sequence[str]) -> list[str]:
    overlap = leakage(caller, spec.dataset.train, spec.dataset.eval, columns)
    if overlap is None or overlap.repeated == 0:
        return []
    named = _named(columns)
    if spec.dataset.eval is None:
        return [
            f"{overlap.repeated:,} of {overlap.rows:,} rows repeat another row's {named}, so the split may put copies "
            "on both sides and the measured quality may be too good. Remove the copies, or name other data as "
            "dataset.eval."
        ]
    return [
        f"{overlap.repeated:,} of {overlap.rows:,} evaluation rows have the {named} of a training row, so the measured "
        "quality may be too good. Remove them from one of the two data sets."
    ]


def contradiction_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Describe training rows of one content under several labels, where each row has one class."""
    record = record_of(spec)
    if not record.is_stratified or record.target is None:
        return []
    columns = record.columns(spec)
    label = columns.pop(record.target)
    paths = (caller.settings.files.dataset_hashes(spec.dataset.train),)
    try:
        found = _compared(paths, tuple(columns.values()), label)
    except (KeyError, FileNotFoundError):
        return []
    if found.repeated == 0:
        return []
    return [describe_contradiction(found, list(columns.values()), label)]


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
        reply = ask(COMMAND, order, folder, seconds=SECONDS, environment=environment(folder))
    if reply.answer is None:
        raise RuntimeError(f"comparing data sets failed with status {reply.exit_code}: {reply.log}")
    return Overlap(**reply.answer)
