"""The one clock that leases are measured by: the server's on PostgreSQL, a steady one of this machine's on SQLite.

A wall clock that jumps, by hand or by a time server, would take leases from workers that are alive. On SQLite all
processes are on one machine, so its monotonic clock serves; what is added to it to look like the wall clock is kept in
a file beside the database, so that all processes add the same. After a restart of the machine it is made anew.
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
    """For leases, hints and backoff: never goes back, never jumps."""
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
    """Seconds between the monotonic clock and the wall clock, as whoever asked first since the start found it."""
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"
    path = Path(f"{database}.clock-{boot}")
    if not path.exists():
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            file.write(repr(time.time() - time.monotonic()))
        with suppress(FileExistsError):  # another process was quicker: then its offset holds
            os.link(file.name, path)
        Path(file.name).unlink()
        for other in path.parent.glob(f"{Path(database).name}.clock-*"):
            if other != path:
                other.unlink(missing_ok=True)
    return float(path.read_text())
