"""Hashes of a data set's cells, in one small file beside its rows, so that duplicates are found without reading texts.

The file is a line of JSON, `{"rows": n, "columns": [...]}`, followed by n hashes of 64 bits per column.
"""

from __future__ import annotations

import json
import shutil
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import xxhash

from adamss_core.spec.labels import class_name
from service.datasets.rows import Row

MAX_HASHED_COLUMNS = 16
BUFFER = 8_192
CHUNK = 65_536
MIX, MASK = 0x9E3779B97F4A7C15, 2**64 - 1


def cell_hash(value: Any) -> int:
    """Hash a cell's content: 1, "1" and "1.0" are equal, as are texts that differ in surrounding space only."""
    text = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else class_name(value)
    return xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"))


EMPTY_CELL = cell_hash(None)


def empty_row_hash(columns: int) -> int:
    """Hash a row without a value in any of `columns` columns."""
    return _combined([array("Q", [EMPTY_CELL])] * columns)[0]


class RowHashWriter:
    """Collector of row hashes, column by column, up to MAX_HASHED_COLUMNS columns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, _ColumnFile] = {}
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for column in self._columns.values():
            column.close()

    def add(self, row: Row, known: dict[str, int] | None = None) -> None:
        """Add the hashes of a row.

        Args:
            known: hashes of cells that refer to other content, such as the name of an image file.
        """
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= MAX_HASHED_COLUMNS:
                    continue
                path = self._folder / f"hashes.{len(self._columns)}"
                column = self._columns[name] = _ColumnFile(path)
            column.add(self._rows, known[name] if known and name in known else cell_hash(value))
        self._rows += 1

    def finish(self, target: Path) -> None:
        """Concatenate the columns into one file."""
        with target.open("wb") as out:
            header = {"rows": self._rows, "columns": list(self._columns)}
            out.write(json.dumps(header).encode() + b"\n")
            for column in self._columns.values():
                column.finish(self._rows)
                with column.path.open("rb") as file:
                    shutil.copyfileobj(file, out)
                column.path.unlink()


class _ColumnFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._pending = array("Q")
        self._count = 0

    def add(self, row: int, value: int) -> None:
        if self._count < row:
            self._pad(row)
        self._pending.append(value)
        self._count += 1
        if len(self._pending) >= BUFFER:
            self._flush()

    def finish(self, rows: int) -> None:
        self._pad(rows)
        self._flush()
        self.close()

    def close(self) -> None:
        self._file.close()

    def _pad(self, rows: int) -> None:
        """Append the empty cell's hash for rows that lack the column."""
        while self._count < rows:
            missing = min(rows - self._count, CHUNK)
            self._pending.extend([EMPTY_CELL] * missing)
            self._count += missing
            self._flush()

    def _flush(self) -> None:
        _little_endian(self._pending).tofile(self._file)
        self._pending = array("Q")


class RowHashes:
    """Reader of one data set's row hashes, column by column."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            header = json.loads(file.readline())
            self._start = file.tell()
        self.rows: int = header["rows"]
        self.columns: list[str] = header["columns"]

    def require(self, columns: Sequence[str]) -> None:
        """Raise KeyError for a column without hashes."""
        for name in columns:
            self._index(name)

    def of(self, columns: Sequence[str]) -> Iterator[array[int]]:
        """Yield one hash per row over `columns`, in chunks.

        Raises:
            KeyError: a column has no hashes.
        """
        indices = [self._index(name) for name in columns]
        with self._path.open("rb") as file:
            for first in range(0, self.rows, CHUNK):
                count = min(CHUNK, self.rows - first)
                parts = [self._read(file, index, first, count) for index in indices]
                yield parts[0] if len(parts) == 1 else _combined(parts)

    def _index(self, name: str) -> int:
        if name not in self.columns:
            raise KeyError(name)
        return self.columns.index(name)

    def _read(self, file: IO[bytes], index: int, first: int, count: int) -> array[int]:
        file.seek(self._start + 8 * (index * self.rows + first))
        hashes = array("Q")
        hashes.fromfile(file, count)
        return _little_endian(hashes)


def _combined(parts: list[array[int]]) -> array[int]:
    """Combine the cell hashes of each row into one row hash."""
    combined = array("Q", parts[0])
    for part in parts[1:]:
        combined = array("Q", ((one * MIX ^ other) & MASK for one, other in zip(combined, part, strict=True)))
    return combined


def _little_endian(values: array[int]) -> array[int]:
    """Swap bytes on big-endian machines: the file is little-endian, so that machines may share it."""
    if sys.byteorder == "big":
        values.byteswap()
    return values
