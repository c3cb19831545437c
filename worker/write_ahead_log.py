"""Keep reports in a file of the job's folder until they are in the database.

A training process that is killed loses the reports of its last second. Steps before the resumed checkpoint are not
repeated, so their reports would be lost for good: the next attempt reads them here. Each line is written straight to
the operating system, which keeps it when the process dies.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from datetime import datetime

from service.shared.storage.home import JobFolder
from worker.batch import Row

logger = logging.getLogger(__name__)


class WriteAheadLog:
    """Append reports to the file. Not thread-safe: the reporter calls it under its own lock.

    Attributes:
        left: (kind, row) that earlier attempts left behind, in the order of their reports.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._path = folder.reports
        self.left = list(self._read())
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self.left:
            os.write(self._handle, b"\n")  # the last line may be cut off

    def add(self, kind: str, row: Row) -> None:
        """Append a row of plain JSON types and times."""
        line = json.dumps({"kind": kind, "row": row}, default=_text, separators=(",", ":")) + "\n"
        try:
            os.write(self._handle, line.encode())
        except OSError as error:  # a full disk must not end the run: the row is still on its way to the database
            logger.warning("a report could not be kept on disk: %r", error)

    def clear(self) -> None:
        """Empty the file, once every row in it is in the database."""
        with suppress(OSError):
            os.ftruncate(self._handle, 0)

    def _read(self) -> list[tuple[str, Row]]:
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        entries = []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a kill may cut the last line off
                entry = json.loads(line)
                row: Row = entry["row"]
                times = {name: datetime.fromisoformat(row[name]) for name in ("time", "created_at") if name in row}
                entries.append((str(entry["kind"]), row | times))
        return entries


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
