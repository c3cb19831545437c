"""What a run has reported and the database may not have yet, in a file of the job's folder.

A training process that is killed takes along what it reported within the last second. Steps up to the checkpoint it
is gone on from are not made again, so nobody else would report them: the next attempt finds them here. Lines are
written straight to the operating system, which keeps them when the process dies.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

FILE = "reports.jsonl"
Row = dict[str, Any]


class Journal:
    """Not safe for several threads at once; the reporter holds its own lock.

    Attributes:
        left: (kind, row) that earlier attempts left behind, in the order of their reports.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.left = list(self._read())
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self.left:
            os.write(self._handle, b"\n")  # the last line may be cut off

    def add(self, kind: str, row: Row) -> None:
        """Row: plain JSON types and times."""
        line = json.dumps({"kind": kind, "row": row}, default=_text, separators=(",", ":")) + "\n"
        try:
            os.write(self._handle, line.encode())
        except OSError as error:  # a full disk must not end the run: the row is still on its way to the database
            logger.warning("a report could not be kept on disk: %r", error)

    def clear(self) -> None:
        """Everything added so far is in the database."""
        with suppress(OSError):
            os.ftruncate(self._handle, 0)

    def _read(self) -> list[tuple[str, Row]]:
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        found = []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a kill may cut the last line off
                entry = json.loads(line)
                row: Row = entry["row"]
                times = {name: datetime.fromisoformat(row[name]) for name in ("time", "created_at") if name in row}
                found.append((str(entry["kind"]), row | times))
        return found


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
