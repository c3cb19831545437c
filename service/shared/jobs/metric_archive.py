"""Read the metrics of a job whose rows were moved from the database to its `metrics` artifact."""

from __future__ import annotations

import zipfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import Artifact, Job, MetricRow
from service.shared.errors import NotFound
from service.shared.jobs import metrics_parquet
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles

if TYPE_CHECKING:
    from pyarrow import Table

ARTIFACT = "metrics"
FIXED = ("seq", "kind", "step", "epoch", "time")  # columns of each row; the others are values
COUNTS = ("memory_bytes", "active_subspaces", "target_subspaces", "trainable_parameters")  # floats in the file


def find_archive(session: Session, files: Home | HostFiles, job_id: str) -> MetricArchive | None:
    """Return the archive of a job's metrics; None while they are rows of the database.

    Raises:
        NotFound: they were moved, and the artifact is gone.
    """
    if session.scalar(select(Job.metrics_archived_at).where(Job.id == job_id)) is None:
        return None
    artifact = session.get(Artifact, (job_id, ARTIFACT))
    path = None if artifact is None else files.resolve(artifact.path)
    if path is None or not path.is_file():
        raise NotFound(
            f"The metrics of job {job_id} were moved to its artifact '{ARTIFACT}', which is gone from the service's "
            "disk. Restore the file from a backup.",
            code="metrics_gone",
        )
    return MetricArchive(path, job_id)


class MetricArchive:
    """The metrics of one job in a zip with a Parquet file, whose rows are in the order of their sequence numbers."""

    def __init__(self, path: Path, job_id: str) -> None:
        self._path, self._job_id = path, job_id

    def content(self) -> bytes:
        """Return the Parquet file."""
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(metrics_parquet.NAME)

    def after(self, after: int, limit: int, *, last: int | None = None, name: str | None = None) -> list[MetricRow]:
        """Return rows after a sequence number, in order.

        Args:
            last: the highest sequence number.
            name: only rows with this value.
        """
        found: list[MetricRow] = []
        for group in self._groups(after, last):
            if name is not None and name not in group.column_names:
                break
            table = group if name is None else group.filter(group[name].is_valid())
            seqs = table["seq"].to_pylist()
            first = bisect_right(seqs, after)
            end = len(seqs) if last is None else bisect_right(seqs, last)
            found += self._rows(table.slice(first, max(0, min(end - first, limit - len(found)))))
            if len(found) == limit:
                break
        return found

    def at(self, chosen: Sequence[int]) -> list[MetricRow]:
        """Return the rows with these sequence numbers, which are in order."""
        found: list[MetricRow] = []
        if chosen:
            for table in self._groups(chosen[0] - 1, chosen[-1]):
                seqs = table["seq"].to_pylist()
                places = {seq: place for place, seq in enumerate(seqs)}
                own = chosen[bisect_left(chosen, seqs[0]) : bisect_right(chosen, seqs[-1])]
                found += self._rows(table.take([places[seq] for seq in own])) if own else []
        return found

    def numbers(self, after: int, names: Sequence[str], *, whole: bool) -> Iterator[tuple[Any, ...]]:
        """Yield seq, kind, step, attempt (0) and the named numbers of the rows after a sequence number.

        Args:
            whole: all rows. Else those that have a number of the first name.
        """
        for table in self._groups(after, None, ("seq", "kind", "step", *names)):
            columns = [table[name].to_pylist() for name in ("seq", "kind", "step")]
            columns.append([0] * len(table))
            columns += [
                table[name].to_pylist() if name in table.column_names else [None] * len(table) for name in names
            ]
            for row in zip(*columns, strict=True):
                if row[0] > after and (whole or row[4] is not None):
                    yield row

    def _groups(self, after: int, last: int | None, columns: Sequence[str] | None = None) -> Iterator[Table]:
        """Yield the groups of rows that reach into a span of sequence numbers."""
        from pyarrow import parquet

        with zipfile.ZipFile(self._path) as archive, archive.open(metrics_parquet.NAME) as member:
            file = parquet.ParquetFile(member)
            wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
            for number in range(file.num_row_groups):
                span = file.metadata.row_group(number).column(0).statistics
                if span.max > after and (last is None or span.min <= last):
                    yield file.read_row_group(number, columns=wanted)

    def _rows(self, table: Table) -> list[MetricRow]:
        return [self._row(entry) for entry in table.to_pylist()]

    def _row(self, entry: dict[str, Any]) -> MetricRow:
        values = {
            name: int(value) if name in COUNTS and value.is_integer() else value
            for name, value in entry.items()
            if name not in FIXED and value is not None
        }
        fixed = {name: entry[name] for name in FIXED}
        return MetricRow(job_id=self._job_id, attempt=0, values=values, **fixed)
