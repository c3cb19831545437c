"""Files of a given size for `benchmarks.upload`: real reviews, numbered to be distinct, streamed to disk."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

REVIEWS = Path(__file__).parents[1] / "examples" / "data" / "movie_reviews.csv"
MEGABYTE = 1_000_000
TEXT, LABEL = "text", "sentiment"
BATCH = 2**14
GROUP_ROWS = 2**20  # of Parquet, as pyarrow and pandas write by default


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        write: writes the first so many bytes of its rows, or a row more; returns the number of rows.
        peer: how `benchmarks.upload_peer` reads it.
    """

    name: str
    suffix: str
    write: Callable[[Path, int], int]
    peer: str


def reviews() -> Iterator[dict[str, str]]:
    """Yield numbered reviews without end."""
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = count()
    while True:
        for row in rows:
            yield {**row, TEXT: f"{next(numbers)} {row[TEXT]}"}


def chats() -> Iterator[dict[str, Any]]:
    """Yield chats of four turns below a system message, as ShareGPT writes them."""
    rows = reviews()
    while True:
        first, second, third = islice(rows, 3)
        turns = [
            ("system", "You are a critic of films."),
            ("human", first[TEXT]),
            ("gpt", f"{second[TEXT]} That is {first[LABEL]}."),
            ("human", "Why?"),
            ("gpt", third[TEXT]),
        ]
        yield {"conversations": [{"from": role, "value": text} for role, text in turns]}


def write_csv(path: Path, size: int) -> int:
    rows = reviews()
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, next(rows))
        writer.writeheader()
        return _until(size, rows, writer.writerow)


def write_json_lines(path: Path, size: int) -> int:
    return _write_lines(path, size, reviews())


def write_share_gpt(path: Path, size: int) -> int:
    return _write_lines(path, size, chats())


def write_columns(path: Path, size: int) -> int:
    """Write one object with a list for each column, as pandas' `orient="list"`."""
    rows = reviews()
    with path.open("w", encoding="utf-8") as out:
        out.write(f'{{"{TEXT}": [')
        labels: list[str] = []
        written = 0
        while written < size:
            row = next(rows)
            written += out.write(f"{', ' * bool(labels)}{json.dumps(row[TEXT])}") + len(row[LABEL]) + 4
            labels.append(row[LABEL])
        out.write(f'], "{LABEL}": {json.dumps(labels)}}}')
    return len(labels)


def write_parquet(path: Path, size: int) -> int:
    """Write groups of GROUP_ROWS rows, uncompressed, so that the size is what is read."""
    import pyarrow as pa
    from pyarrow import parquet

    rows, number, written = reviews(), 0, 0
    schema = pa.schema({TEXT: pa.string(), LABEL: pa.string()})
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        while written < size:
            batches: list[Any] = []
            while written < size and len(batches) * BATCH < GROUP_ROWS:
                batches.append(pa.RecordBatch.from_pylist(list(islice(rows, BATCH)), schema))
                written += batches[-1].nbytes
            writer.write_table(pa.Table.from_batches(batches), row_group_size=GROUP_ROWS)
            number += len(batches) * BATCH
    return number


KINDS = (
    Kind("CSV", ".csv", write_csv, "csv"),
    Kind("JSON lines", ".jsonl", write_json_lines, "jsonl"),
    Kind("Parquet", ".parquet", write_parquet, "parquet"),
    Kind("ShareGPT", ".jsonl", write_share_gpt, "jsonl"),
    Kind("JSON, columns", ".json", write_columns, "json"),
)


def _write_lines(path: Path, size: int, rows: Iterable[dict[str, Any]]) -> int:
    with path.open("w", encoding="utf-8") as out:
        return _until(size, rows, lambda row: out.write(json.dumps(row, ensure_ascii=False) + "\n"))


def _until(size: int, rows: Iterable[dict[str, Any]], write: Callable[[dict[str, Any]], int]) -> int:
    """Write rows up to a size; return their number."""
    written = 0
    for number, row in enumerate(rows, start=1):
        written += write(row)
        if written >= size:
            return number
    raise AssertionError("reviews have no end")
