"""Warn of leakage: evaluation rows that are training rows too, and repeated rows that a split would separate.

Compares the hashes that every upload leaves; the rows themselves are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from adamss_core.spec import JobSpec, record_of
from service.datasets.child import environment
from service.datasets.repeated_rows import Overlap, repeated_between, repeated_within
from service.datasets.row_hashes import RowHashes
from service.http.context import Caller
from service.shared.processes.ask import ask, python

HERE_ROWS = 200_000  # more are compared in a process of their own, so that the API's memory stays as it is
COMMAND = python("service.datasets.repeated_rows")
SECONDS = 300.0


def leakage(caller: Caller, train_id: str, eval_id: str | None, columns: Sequence[str]) -> Overlap | None:
    """Count evaluation rows that are in the training data too; without `eval_id`, rows that repeat another one.

    Args:
        columns: what counts as equal: the inputs of the model, not the label.

    Returns:
        None where it is not known.
    """
    paths = [caller.settings.files.dataset_hashes(name) for name in (train_id, eval_id) if name is not None]
    try:
        return _compared(tuple(paths), tuple(columns))
    except (KeyError, FileNotFoundError):
        return None


def leakage_warnings(caller: Caller, spec: JobSpec) -> list[str]:
    """Warn of leakage between a job's inputs; empty where there is none."""
    record = record_of(spec)
    columns = [name for field, name in record.columns(spec).items() if field != record.target]
    found = leakage(caller, spec.dataset.train, spec.dataset.eval, columns)
    if found is None or found.repeated == 0:
        return []
    named = " and ".join(f"'{name}'" for name in columns)
    if spec.dataset.eval is None:
        return [
            f"{found.repeated:,} of {found.rows:,} rows repeat another row's {named}, so some will be trained on and "
            "evaluated on as well, and the measured quality may be too good. Remove them, or name other data as "
            "dataset.eval."
        ]
    return [
        f"{found.repeated:,} of {found.rows:,} evaluation rows have the {named} of a training row, and the measured "
        "quality may be too good. Remove them from one of the two."
    ]


@lru_cache(maxsize=256)  # data sets never change
def _compared(paths: tuple[Path, ...], columns: tuple[str, ...]) -> Overlap:
    data = [RowHashes(path) for path in paths]
    for one in data:
        one.require(columns)
    if sum(one.rows for one in data) > HERE_ROWS:
        return _elsewhere(paths, columns)
    return repeated_within(data[0], columns) if len(data) == 1 else repeated_between(data[0], data[1], columns)


def _elsewhere(paths: tuple[Path, ...], columns: tuple[str, ...]) -> Overlap:
    order = {"columns": columns, "paths": [str(path) for path in paths]}
    with TemporaryDirectory(prefix="adamss-overlap-") as name:
        folder = Path(name)
        reply = ask(COMMAND, order, folder, seconds=SECONDS, environment=environment(folder))
    if reply.answer is None:
        raise RuntimeError(f"comparing data sets failed with status {reply.exit_code}: {reply.log}")
    return Overlap(**reply.answer)
