"""The clock of all leases: the server's on PostgreSQL, this machine's monotonic clock on SQLite.

A wall clock that jumps, by hand or by a time server, would take leases from live workers. On SQLite all processes run
on one machine, so its monotonic clock serves. Its offset to the wall clock is stored in a file beside the database, so
that all processes add the same offset; after a restart of the machine a new offset is measured.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def database_now(session: Session) -> datetime:
    """Return the time for leases, hints and backoff; successive calls never go back and never jump."""
    bind = session.get_bind()
    if bind.dialect.name == "postgresql":
        value: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return value
    engine = bind if isinstance(bind, Engine) else bind.engine
    if engine.url.database in (None, "", ":memory:"):
        return datetime.fromtimestamp(time.time(), UTC)
    return datetime.fromtimestamp(_offset(str(engine.url.database)) + time.monotonic(), UTC)


@lru_cache(maxsize=16)
def _offset(database: str) -> float:
    """Return the seconds from the monotonic clock to the wall clock, as the first process since boot measured them."""
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"
    path = Path(f"{database}.clock-{boot}")
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            file.write(repr(time.time() - time.monotonic()))
        with suppress(FileExistsError):  # another process was quicker: its offset holds
            os.link(file.name, path)
        Path(file.name).unlink()
        for other in path.parent.glob(f"{Path(database).name}.clock-*"):
            if other != path:
                other.unlink(missing_ok=True)
    return float(path.read_text())
