"""Export of a job's metrics as a Parquet file."""

from __future__ import annotations

from typing import IO, Any

from sqlalchemy.orm import Session

from service.shared.database.tables import MetricRow
from service.shared.jobs.report_queries import after_seq, metric_names

NAME = "metrics.parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}
PAGE = 10_000


def write(session: Session, job_id: str, file: IO[bytes]) -> dict[str, Any]:
    """Write one row per step and kind, one column per value; each page of rows becomes a row group.

    Returns:
        The number of rows, and the names of the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("seq", pa.int64()), ("kind", pa.string()), ("step", pa.int64()), ("epoch", pa.float64())]
    fields += [("time", pa.timestamp("us", tz="UTC"))]
    fields += [(name, pa.float64()) for name in metric_names(session, job_id)]
    schema = pa.schema(fields)
    count = after = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := after_seq(session, MetricRow, job_id, after, PAGE):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in rows], schema=schema))
            count, after = count + len(rows), rows[-1].seq
            session.expunge_all()
    return {"rows": count, "columns": [name for name, _ in fields]}


def _flat(row: MetricRow) -> dict[str, Any]:
    fixed = {"seq": row.seq, "kind": row.kind, "step": row.step, "epoch": row.epoch, "time": row.time}
    return {name: None if value is None else float(value) for name, value in row.values.items()} | fixed
