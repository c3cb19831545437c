"""Stream the members of one JSON object: each list and object entry by entry, and columns side by side."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, Literal

from service.datasets.json_rows import Scanner
from service.datasets.rows import MEBIBYTE

BUFFERS = 4 * MEBIBYTE  # of all columns together
LEAST_BUFFER = 4_096


@dataclass(frozen=True)
class NamedValue:
    """A name of an object, and what stands behind it.

    Attributes:
        entries: those of a list or object, with the key of each ("" in a list); only until the next member is read.
    """

    name: str
    kind: Literal["list", "object", "value"]
    entries: Iterator[tuple[str, Any]]


def members(scanner: Scanner) -> Iterator[NamedValue]:
    """Yield the members of the next object, holding one entry in memory at a time.

    Raises:
        InvalidRequest: the object is not valid JSON.
    """
    for name in scanner.names():
        if scanner.looks_at("["):
            member = NamedValue(name, "list", (("", value) for _, value in scanner.entries()))
        elif scanner.looks_at("{"):
            member = NamedValue(name, "object", ((key, scanner.value(1)) for key in scanner.names()))
        else:
            member = NamedValue(name, "value", iter([("", scanner.value(1))]))
        yield member
        for _ in member.entries:  # the object goes on behind them
            pass


def side_by_side(columns: Iterator[NamedValue]) -> Iterator[dict[str, Any]]:
    """Yield a row for each entry of members that have as many.

    A file has the cells of one column after those of another, so they are written to disk once, and read from as many
    places at a time as there are columns.
    """
    with TemporaryFile() as cells:
        places: dict[str, tuple[int, int]] = {}
        for column in columns:
            begin = cells.tell()
            cells.writelines(f"{json.dumps(value)}\n".encode() for _, value in column.entries)
            places[column.name] = begin, cells.tell()
        cells.flush()
        buffer = max(LEAST_BUFFER, BUFFERS // len(places))
        readers = [_lines(cells, *place, buffer) for place in places.values()]
        for lines in zip(*readers, strict=True):
            yield dict(zip(places, map(json.loads, lines), strict=True))


def _lines(file: IO[bytes], begin: int, end: int, buffer: int) -> Iterator[str]:
    return io.TextIOWrapper(io.BufferedReader(_Part(file, begin, end), buffer), "ascii", newline="\n")


class _Part(io.RawIOBase):
    """The bytes of a file from one place to another, whatever else is read of it."""

    def __init__(self, file: IO[bytes], begin: int, end: int) -> None:
        self._file, self._at, self._end = file, begin, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = os.pread(self._file.fileno(), min(len(buffer), self._end - self._at), self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
