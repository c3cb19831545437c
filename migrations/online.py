"""Steps of a migration that take long in a full database, without keeping anybody from writing.

Each commits on its own, outside the migration's transaction, so it is a revision of its own, and one that may be run
again after it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import sqlalchemy as sa
from alembic import op

BATCH = 2_000  # rows of one statement: a fraction of a second, for which SQLite lets nobody else write
LONGEST_PAUSE = 1.0


def backfill(table: sa.TableClause, key: Sequence[str], values: Mapping[str, Any], batch: int = BATCH) -> None:
    """Update all rows in the order of a unique key, a batch at a time, and pause for as long as a batch has taken.

    Rows that are inserted meanwhile are the new release's to fill; older releases may leave them empty.

    Args:
        key: columns of the primary key.
        values: column -> expression of the row's other columns; computing it twice must change nothing.
    """
    with op.get_context().autocommit_block(), _by_index(op.get_bind()) as connection:
        last: tuple[Any, ...] | None = None
        while (end := _end_of_batch(connection, table, key, last, batch)) is not None:
            begun = monotonic()
            update = table.update().where(*_between(table, key, last, end)).values(dict(values))
            if connection.execute(update).rowcount < batch:  # what comes after it was inserted meanwhile
                break
            last = end
            sleep(min(LONGEST_PAUSE, monotonic() - begun))


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Create an index, on PostgreSQL without locking out writers; on SQLite they wait until it is built."""
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, list(columns), if_not_exists=True)
        return
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        waiting = connection.execute(sa.text("SHOW lock_timeout")).scalar_one()
        connection.execute(sa.text("SET lock_timeout = 0"))  # it waits for transactions, and nobody waits for it
        if connection.execute(_INVALID, {"name": name}).first() is not None:  # an interrupted build leaves one
            op.drop_index(name, table, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), postgresql_concurrently=True, if_not_exists=True)
        connection.execute(sa.text("SELECT set_config('lock_timeout', :waiting, false)"), {"waiting": waiting})


@contextmanager
def _by_index(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Have PostgreSQL find each batch by the key's index: it guesses a third of the table, and scans all of it."""
    scans = ("enable_seqscan", "enable_bitmapscan") if connection.dialect.name == "postgresql" else ()
    for scan in scans:
        connection.execute(sa.text(f"SET {scan} = off"))
    yield connection
    for scan in scans:
        connection.execute(sa.text(f"RESET {scan}"))


_INVALID = sa.text(
    "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid "
    "WHERE pg_class.relname = :name AND NOT pg_index.indisvalid"
)


def _end_of_batch(
    connection: sa.Connection, table: sa.TableClause, key: Sequence[str], last: tuple[Any, ...] | None, batch: int
) -> tuple[Any, ...] | None:
    """Return the key of the last row of the batch after `last`; None where no row is left."""
    columns = [table.c[name] for name in key]
    following = sa.select(*columns).where(*_between(table, key, last, None)).order_by(*columns).limit(batch).subquery()
    newest = sa.select(*following.c).order_by(*(column.desc() for column in following.c)).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else tuple(row)


def _between(
    table: sa.TableClause, key: Sequence[str], last: tuple[Any, ...] | None, end: tuple[Any, ...] | None
) -> list[sa.ColumnElement[bool]]:
    """Build the conditions on a key after `last` and up to `end`."""
    columns = sa.tuple_(*(table.c[name] for name in key))
    bounds: list[sa.ColumnElement[bool]] = []
    if last is not None:
        bounds.append(columns > sa.tuple_(*last))
    if end is not None:
        bounds.append(columns <= sa.tuple_(*end))
    return bounds
