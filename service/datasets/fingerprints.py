"""Hashes of a data set's cells, one small file beside its rows, so that equal texts are found without reading them.

The file is a line of JSON, `{"rows": n, "columns": [...]}`, and for each column n hashes of 64 bits.
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


def fingerprint(value: Any) -> int:
    """Of a cell's content: 1 and "1" are equal, as are texts that differ in the space around them."""
    if isinstance(value, str):
        text = value.strip()
    else:
        text = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else class_name(value)
    return xxhash.xxh3_64_intdigest(text.encode(errors="surrogatepass"))


NOTHING = fingerprint(None)


def nothing(columns: int) -> int:
    """The hash of a row without a value in any of so many columns."""
    return _mixed([array("Q", [NOTHING])] * columns)[0]


class FingerprintWriter:
    """Collects the hashes of rows, column by column; of wide tables, the first columns."""

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
        """`known`: hashes of cells that stand for something else, such as a file."""
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= MAX_HASHED_COLUMNS:
                    continue
                path = self._folder / f"hashes.{len(self._columns)}"
                column = self._columns[name] = _ColumnFile(path)
            column.add(self._rows, known[name] if known and name in known else fingerprint(value))
        self._rows += 1

    def finish(self, target: Path) -> None:
        """Puts the columns into one file."""
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
        self._waiting = array("Q")
        self._count = 0

    def add(self, row: int, value: int) -> None:
        self._pad(row)
        self._waiting.append(value)
        self._count += 1
        if len(self._waiting) >= BUFFER:
            self._flush()

    def finish(self, rows: int) -> None:
        self._pad(rows)
        self._flush()
        self.close()

    def close(self) -> None:
        self._file.close()

    def _pad(self, rows: int) -> None:
        """Rows that lack the column."""
        while self._count < rows:
            missing = min(rows - self._count, CHUNK)
            self._waiting.extend([NOTHING] * missing)
            self._count += missing
            self._flush()

    def _flush(self) -> None:
        _little(self._waiting).tofile(self._file)
        self._waiting = array("Q")


class Fingerprints:
    """The hashes of one data set, read column by column."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            header = json.loads(file.readline())
            self._start = file.tell()
        self.rows: int = header["rows"]
        self.columns: list[str] = header["columns"]

    def require(self, columns: Sequence[str]) -> None:
        """Raises KeyError for a column whose hashes are not kept."""
        for name in columns:
            self._place(name)

    def of(self, columns: Sequence[str]) -> Iterator[array[int]]:
        """One hash a row over some columns, in chunks.

        Raises:
            KeyError: a column whose hashes are not kept.
        """
        places = [self._place(name) for name in columns]
        with self._path.open("rb") as file:
            for first in range(0, self.rows, CHUNK):
                count = min(CHUNK, self.rows - first)
                parts = [self._read(file, place, first, count) for place in places]
                yield parts[0] if len(parts) == 1 else _mixed(parts)

    def _place(self, name: str) -> int:
        if name not in self.columns:
            raise KeyError(name)
        return self.columns.index(name)

    def _read(self, file: IO[bytes], place: int, first: int, count: int) -> array[int]:
        file.seek(self._start + 8 * (place * self.rows + first))
        found = array("Q")
        found.fromfile(file, count)
        return _little(found)


def _mixed(parts: list[array[int]]) -> array[int]:
    mixed = array("Q", parts[0])
    for part in parts[1:]:
        mixed = array("Q", ((one * MIX ^ other) & MASK for one, other in zip(mixed, part, strict=True)))
    return mixed


def _little(values: array[int]) -> array[int]:
    """The file is little-endian, so that machines may share it."""
    if sys.byteorder == "big":
        values.byteswap()
    return values
