"""Read a file as others do, without checking, counting or comparing a cell, as an upload does.

Usage: python -m benchmarks.upload_peer HOW csv|jsonl|parquet|json FILE; prints rows, seconds, and the peak of memory.
HOW is "arrow", as the `datasets` library prepares a file: with pyarrow, batch by batch, into an Arrow file; or "lines",
as a short script would: row by row with Python's own csv and json, into JSON lines.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from csv import DictReader
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet
from pyarrow import json as json_reader

ROWS = 500  # that are objects of Python at a time


def batches(kind: str, path: Path) -> Iterator[Any]:
    """Yield batches of rows; of JSON in columns, for which pyarrow has no reader, all rows as one."""
    if kind == "csv":
        yield from csv.open_csv(path, read_options=csv.ReadOptions(use_threads=False))
    elif kind == "jsonl":
        yield from json_reader.open_json(path, read_options=json_reader.ReadOptions(use_threads=False))
    elif kind == "parquet":
        yield from parquet.ParquetFile(path).iter_batches(use_threads=False)
    else:
        yield pa.RecordBatch.from_pydict(json.loads(path.read_bytes()))


def as_arrow(kind: str, path: Path) -> int:
    """Write all rows into an Arrow file; return their number."""
    rows = 0
    with tempfile.TemporaryFile() as out:
        writer = None
        for batch in batches(kind, path):
            writer = writer or pa.ipc.new_stream(out, batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
        if writer is not None:
            writer.close()
    return rows


def objects(kind: str, path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows as objects of Python."""
    if kind == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from DictReader(file)
    elif kind == "jsonl":
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
    else:
        for batch in batches(kind, path):
            for start in range(0, batch.num_rows, ROWS):
                yield from batch.slice(start, ROWS).to_pylist()


def as_lines(kind: str, path: Path) -> int:
    """Write all rows as JSON lines; return their number."""
    rows = 0
    with tempfile.TemporaryFile("w", encoding="utf-8") as out:
        for row in objects(kind, path):
            rows += 1
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return rows


def peak_mb() -> float:
    """Return the most memory that this process held; `ru_maxrss` has that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1_000_000


def main(how: str, kind: str, file: str) -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    begin = time.perf_counter()
    rows = {"arrow": as_arrow, "lines": as_lines}[how](kind, Path(file))
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - begin, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
