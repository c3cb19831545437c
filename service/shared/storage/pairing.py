"""Home folder and database belong together, and carry one random id.

A worker that started on a home folder with another database would take every file in it for an orphan. So each process
of the service compares the two ids before it does anything else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.shared.database.engine import Database, api_connections
from service.shared.database.migrate import upgrade
from service.shared.database.tables import Dataset, HomeId, Job
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles, open_host_files, open_store
from service.shared.storage.store_errors import StorageMisconfigured, StorageUnavailable
from service.shared.storage.write_once import write_once

if TYPE_CHECKING:
    from service.shared.storage.object_store import ObjectStore

BATCH = 500  # ids in one query
STORE_ID = "home_id"  # the object with the database's id

logger = logging.getLogger(__name__)


def open_database(settings: Settings) -> Database:
    """Open and migrate the home folder's database.

    Raises:
        StartRefused: it belongs to another home folder. Nothing was changed.
    """
    db = Database(settings.resolved_database_url, api_connections(settings.api_processes))
    try:
        refuse_mismatch(settings, db)
        upgrade(settings)
        _give_ids(settings, db)
    except BaseException:
        db.close()
        raise
    return db


def refuse_mismatch(settings: Settings, db: Database) -> None:
    """Raise StartRefused if home folder and database do not belong together."""
    if (problem := mismatch(settings, db)) is not None:
        raise StartRefused(" ".join(problem))


def pair(settings: Settings, db: Database) -> None:
    """Check that home folder and migrated database carry the same id; give both one if they belong together.

    They do if neither has anything in it, or if the database knows a job or data set whose files lie in the folder.

    Raises:
        StartRefused: they do not belong together. Nothing was changed.
    """
    refuse_mismatch(settings, db)
    _give_ids(settings, db)


def _give_ids(settings: Settings, db: Database) -> None:
    """Give one id to a home folder and a migrated database that belong together, where either has none."""
    with db.read() as session:
        stored = _stored_id(session)
    written = read_id(settings.files) or write_once(settings.files.home_id, stored or secrets.token_hex(16))
    if stored is None:
        with suppress(IntegrityError), db.write() as session:  # another process that starts was quicker
            session.add(HomeId(id=written))


def open_paired_files(settings: Settings, db: Database, patience: float | None = None) -> HostFiles:
    """Open the files of a process, and check that the store can be used and belongs to the migrated database.

    A store that does not answer is waited for later, by whoever needs a file of it.

    Args:
        patience: see `HostFiles`.

    Raises:
        StartRefused: the store refuses, or belongs to another database. Nothing of it was changed.
    """
    files = open_host_files(settings, db, patience)
    if files.store is not None:
        try:
            files.store.try_out()
            _pair_store(files.store, db)
        except StorageMisconfigured:
            raise
        except StorageUnavailable as error:
            logger.warning("%s", error)
    return files


def _pair_store(store: ObjectStore, db: Database) -> None:
    """Give the store the id of the database, unless it has one.

    Raises:
        StorageMisconfigured: it has another one.
    """
    with db.read() as session:
        stored = _stored_id(session)
    if stored is None:
        return
    store.put_bytes(stored.encode(), STORE_ID)
    if (found := store.read_text(STORE_ID)) != stored:
        raise StorageMisconfigured(
            f"The store of files {store.url} (id {found}) and the database (id {stored}) do not belong together: files "
            "of the one would be orphans in the other.",
            "Nothing was changed. Set ADAMSS_STORAGE_URL to another bucket or prefix. If the database replaces the "
            "store's former one for good: adamss adopt",
        )


def adopt(settings: Settings, db: Database) -> str:
    """Declare that home folder and database belong together from now on, whatever they hold; return their id."""
    with db.read() as session:
        chosen = _stored_id(session) or read_id(settings.files) or secrets.token_hex(16)
    settings.files.home_id.unlink(missing_ok=True)
    write_once(settings.files.home_id, chosen)
    with db.write() as session:
        session.execute(delete(HomeId))
        session.add(HomeId(id=chosen))
    if (store := open_store(settings.storage_url)) is not None:
        store.delete([STORE_ID])
        store.put_bytes(chosen.encode(), STORE_ID)
    return chosen


def mismatch(settings: Settings, db: Database) -> tuple[str, str] | None:
    """Return why home folder and database do not belong together, and the remedy; None if they do.

    Changes nothing, and needs no tables: a wrong database must not be migrated before it is known to be wrong.
    """
    home = settings.files
    written = read_id(home)
    if not database_exists(settings):  # SQLite would create the file
        return None if next(_ids(home), None) is None else _problem(settings, written, None)
    with db.read() as session:
        tables = inspect(session.connection()).get_table_names()
        stored = _stored_id(session) if HomeId.__tablename__ in tables else None
        if stored is not None and stored == written:
            return None
        known = [table for table in (Job, Dataset) if table.__tablename__ in tables]
        if (stored is None or written is None) and (
            _are_empty(session, known, home) or _share_any(session, known, home)
        ):
            return None
    return None if _joins(settings, written, stored) else _problem(settings, written, stored)


def _joins(settings: Settings, written: str | None, stored: str | None) -> bool:
    """Return whether an empty home folder is that of one more host, which shares files through the database's store.

    Raises:
        StorageUnavailable: the store does not answer, so that it cannot be told.
    """
    if written is not None or stored is None or next(_ids(settings.files), None) is not None:
        return False
    store = open_store(settings.storage_url)
    return store is not None and store.read_text(STORE_ID) == stored


def database_exists(settings: Settings) -> bool:
    """Return whether the database exists, as far as that can be told without creating it."""
    url = make_url(settings.resolved_database_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def read_id(home: Home) -> str | None:
    """Return the id in a home folder; None if it has none."""
    with suppress(FileNotFoundError):
        return home.home_id.read_text().strip() or None
    return None


@cache
def home_id(home: Home) -> str:
    """Return the id of a home folder that a process of the service has opened; read once."""
    found = read_id(home)
    if found is None:
        raise FileNotFoundError(f"{home.home_id} does not exist: the service has not started on this folder yet")
    return found


def _stored_id(session: Session) -> str | None:
    return session.scalars(select(HomeId.id)).one_or_none()


def _are_empty(session: Session, tables: list[type[Job | Dataset]], home: Home) -> bool:
    """Return whether neither the database nor the home folder has a job or data set."""
    rows = [session.scalars(select(table.id).limit(1)).first() for table in tables]
    return not any(rows) and next(_ids(home), None) is None


def _share_any(session: Session, tables: list[type[Job | Dataset]], home: Home) -> bool:
    """Return whether the database has a row for any of the home folder's jobs and data sets."""
    ids = _ids(home)
    while batch := list(islice(ids, BATCH)):
        for table in tables:
            if session.scalars(select(table.id).where(table.id.in_(batch)).limit(1)).first() is not None:
                return True
    return False


def _ids(home: Home) -> Iterator[str]:
    """Yield the ids of jobs and data sets that have files."""
    for folder, pattern in ((home.jobs, "job_*"), (home.artifacts, "job_*"), (home.datasets, "ds_*")):
        for path in folder.glob(pattern):
            yield path.name.partition(".")[0]


def _problem(settings: Settings, written: str | None, stored: str | None) -> tuple[str, str]:
    database = make_url(settings.resolved_database_url).render_as_string(hide_password=True)
    return (
        f"The home folder {settings.resolved_home} ({_describe(written)}) and the database {database} "
        f"({_describe(stored)}) do not belong together: files of the one would be orphans in the other.",
        "Nothing was changed. Set ADAMSS_HOME and ADAMSS_DATABASE_URL to two that belong together, mount or restore "
        "what is missing, or start anew in an empty home folder. If this folder replaces the database's former one for "
        "good, or the reverse: adamss adopt",
    )


def _describe(found: str | None) -> str:
    return f"id {found}" if found else "without an id"
