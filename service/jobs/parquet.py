"""A job's metrics as a Parquet file."""

from __future__ import annotations

from typing import Any

from service.context import Caller
from service.db import Metric
from service.jobs import repository
from service.jobs.service import get

MEDIA_TYPE = "application/vnd.apache.parquet"
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}
PAGE = 10_000


def table(caller: Caller, job_id: str) -> bytes:
    """The file's content; read some rows at a time, each batch a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with caller.db.read() as session:
        get(session, caller, job_id)
        names = repository.metric_names(session, job_id)
        fields = [("seq", pa.int64()), ("kind", pa.string()), ("step", pa.int64()), ("epoch", pa.float64())]
        fields += [("time", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in names)]
        schema = pa.schema(fields)
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            after = 0
            while rows := repository.after_seq(session, Metric, job_id, after, PAGE):
                writer.write_table(pa.Table.from_pylist([_flat(row) for row in rows], schema=schema))
                after = rows[-1].seq
                session.expunge_all()
    return bytes(sink.getvalue())


def _flat(row: Metric) -> dict[str, Any]:
    fixed = {"seq": row.seq, "kind": row.kind, "step": row.step, "epoch": row.epoch, "time": row.time}
    return {name: None if value is None else float(value) for name, value in row.values.items()} | fixed
