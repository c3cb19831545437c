"""Counts of requests that several API processes keep in one file, where no Redis counts them."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Lock

from limits.storage import MemoryStorage

WAIT_SECONDS = 0.5  # for another process, during a request
CLEAN_EVERY = 1_000  # counts between two removals of expired ones

_TABLE = "CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, count INTEGER NOT NULL, expires REAL NOT NULL)"
_ADD = """
INSERT INTO counts VALUES (:key, :amount, :expires) ON CONFLICT (key) DO UPDATE SET
count = CASE WHEN counts.expires <= :now THEN 0 ELSE counts.count END + :amount,
expires = CASE WHEN counts.expires <= :now THEN excluded.expires ELSE counts.expires END
RETURNING count
"""


class FileStorage(MemoryStorage):
    """Storage of `limits` with its counters in an SQLite file; the library's own arithmetic is inherited.

    Args:
        file: may be lost with the machine: nothing is synced to the disk.
    """

    STORAGE_SCHEME = ["adamss-file"]  # noqa: RUF012  # the library registers subclasses by it

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._lock, self._counted = Lock(), 0
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", _TABLE):
            self._file.execute(statement)

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a counter, beginning at zero where it has expired; return its new value."""
        now = time.time()
        values = {"key": key, "amount": amount, "now": now, "expires": now + expiry}
        with self._lock:
            self._counted += 1
            if self._counted % CLEAN_EVERY == 0:
                self._file.execute("DELETE FROM counts WHERE expires <= ?", (now,))
            ((count,),) = self._file.execute(_ADD, values).fetchall()
        return int(count)

    def decr(self, key: str, amount: int = 1) -> int:
        """Take back what `incr` added."""
        return self.incr(key, 0.0, -amount)

    def get(self, key: str) -> int:
        """Return a counter's value; 0 where it has expired."""
        with self._lock:
            found = self._file.execute("SELECT count FROM counts WHERE key = ? AND expires > ?", (key, time.time()))
            row = found.fetchone()
        return 0 if row is None else int(row[0])
