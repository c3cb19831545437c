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
# Most connections of a process; PostgreSQL has 100 for all. Half of them stay open: opening one costs milliseconds,
# and would do so under load.
API_CONNECTIONS, LEAST_API_CONNECTIONS = 40, 10  # one for each request under way; of all API processes together
WORKER_CONNECTIONS = 10  # of sweeper, collector, webhooks; one for each running job comes to them
TRAINING_CONNECTIONS = 4
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


def api_connections(processes: int) -> int:
    """Return the connections of one of several API processes."""
    return max(LEAST_API_CONNECTIONS, API_CONNECTIONS // processes)


def make_engine(url: str, connections: int = API_CONNECTIONS) -> Engine:
    """Make an engine for SQLite (WAL, foreign keys, BEGIN IMMEDIATE for writers) or PostgreSQL."""
    pool = {"pool_size": connections // 2, "max_overflow": connections - connections // 2}
    if not url.startswith("sqlite"):
        return create_engine(url, **pool, pool_pre_ping=True, connect_args=dict(_POSTGRESQL))
    engine = create_engine(url, **pool, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

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
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":  # of the long steps of a migration
            return
        writing = options.get("adamss_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


class Database:
    """Source of sessions for reading and for writing; made at start-up, never at import.

    Args:
        connections: most that this process opens at a time.
    """

    def __init__(self, url: str, connections: int = API_CONNECTIONS) -> None:
        self.engine = make_engine(url, connections)
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(adamss_write=True), expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session of which nothing is written."""
        with self._readers() as session:
            yield session
            session.expunge_all()  # nothing that was changed is flushed
            session.commit()  # at a rollback psycopg would forget all statements that it has prepared

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session in one transaction: committed at the end, rolled back on an error."""
        with self._writers.begin() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
