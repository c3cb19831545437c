"""Files of the home folder on one of several hosts, which share them through a store.

Whoever is to read a file asks for its local path. Without a store that is the file itself. With one, the path holds a
copy, which is fetched where it is missing and checked against the sha256 in its row: a copy that was cut off or altered
is fetched again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from adamss_core.spec.job import ancestor_of
from service.shared.database.engine import Database
from service.shared.database.tables import LEASED, Job, StoredFile, now
from service.shared.datasets import dataset_ids
from service.shared.settings import Settings
from service.shared.storage.background_fetches import BackgroundFetches
from service.shared.storage.content import digest_of, put_in_place
from service.shared.storage.home import Home
from service.shared.storage.local_copies import LocalCopies
from service.shared.storage.store_errors import FileOnItsWay, StorageUnavailable

if TYPE_CHECKING:
    from service.shared.storage.object_store import ObjectStore, StoredContent

logger = logging.getLogger(__name__)

FETCHES = 4  # files fetched at a time
LOCKS = 64
Fingerprint = tuple[int, int, int, str]


def open_host_files(settings: Settings, db: Database, patience: float | None = None) -> HostFiles:
    """Open the files of a process.

    Args:
        patience: see `HostFiles`.

    Raises:
        StorageMisconfigured: the URL of the store cannot be used.
    """
    return HostFiles(settings.files, db, open_store(settings.storage_url), settings.storage_cache_bytes, patience)


def open_store(url: str | None) -> ObjectStore | None:
    """Open the store of a URL; None without one. obstore is imported only here: most services need no store."""
    if url is None:
        return None
    from service.shared.storage.object_store import ObjectStore

    return ObjectStore(url)


class HostFiles:
    """Local files of a home folder, backed by a store.

    Args:
        store: None where the home folder is all there is: then nothing here does anything.
        cache_bytes: limit of the copies on this host.
        patience: seconds that a call waits for a fetch, which goes on after it; None for as long as it takes.

    Attributes:
        store: as given.
        copies: on this host.
    """

    def __init__(
        self,
        home: Home,
        db: Database,
        store: ObjectStore | None,
        cache_bytes: int | None = None,
        patience: float | None = None,
    ) -> None:
        self._home, self._db, self.store = home, db, store
        self.copies = LocalCopies(home, cache_bytes, self._needed)
        self._whole: dict[str, Fingerprint] = {}
        self._fetches = None if patience is None else BackgroundFetches(patience)

    # --- reading --------------------------------------------------------------------------------------------------

    def local(self, path: Path, *, verify: bool = False) -> Path:
        """Return the path of a file or folder after making sure that it is here, where the store has it.

        Args:
            verify: compare its content with its row even if this process did so before.

        Raises:
            StorageUnavailable, StoredFileGone, StoredFileDamaged: it is not here, and cannot be fetched.
            FileOnItsWay: it is not here yet.
        """
        if self.store is not None and (row := self.find(path)) is not None:
            self._make_whole(row, verify)
        return path

    def dataset(self, dataset_id: str) -> tuple[Path, Path]:
        """Return the local paths of a data set's rows and images; the latter need not exist. See `local`."""
        return self.local(self._home.dataset_rows(dataset_id)), self.local(self._home.dataset_images(dataset_id))

    def resolve(self, name: str) -> Path:
        """Return the local path of a file named in a row. See `local`."""
        return self.local(self._home.resolve(name))

    def local_all(self, paths: Iterable[Path]) -> None:
        """Make sure that files are here and whole, several at a time; see `local`."""
        if self.store is None:
            return
        with ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch") as pool:
            list(pool.map(lambda path: self.local(path, verify=True), paths))

    def find(self, path: Path) -> StoredFile | None:
        """Return the row of a file; None if the store does not have it."""
        if self.store is None:
            return None
        with self._db.read() as session:
            return session.get(StoredFile, self._home.relative(path))

    def _make_whole(self, row: StoredFile, verify: bool) -> None:
        path = self._home.resolve(row.name)
        if not self._is_whole(path, row, verify):
            if self._fetches is None:
                self._bring(path, row, verify)
            elif not self._fetches.wait(row.name, lambda: self._bring(path, row, verify)):
                partial = self._partial(row)
                raise FileOnItsWay(row.owner, partial.stat().st_size if partial.exists() else 0, row.size_bytes)
        self.copies.touch(row.name)

    def _bring(self, path: Path, row: StoredFile, verify: bool) -> None:
        with self._locked(row.name):
            if not self._is_whole(path, row, verify):  # another process may have fetched it meanwhile
                self._fetch(path, row)

    def _partial(self, row: StoredFile) -> Path:
        return self._home.fetching / _short(row.key)

    def _is_whole(self, path: Path, row: StoredFile, verify: bool) -> bool:
        if not path.exists():
            return False
        if not verify and self._whole.get(row.name) == _fingerprint(path, row.sha256):
            return True
        if digest_of(path) != row.sha256:
            logger.warning("the copy of %s differs from its sha256: it is fetched again", row.name)
            return False
        self._whole[row.name] = _fingerprint(path, row.sha256)
        return True

    def _fetch(self, path: Path, row: StoredFile) -> None:
        self.copies.make_room(row.size_bytes)
        try:
            self._fetch_once(path, row)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.copies.remove_unused()
            self._fetch_once(path, row)

    def _fetch_once(self, path: Path, row: StoredFile) -> None:
        assert self.store is not None
        partial = self._partial(row)
        self.store.fetch(_content(row), partial)
        put_in_place(partial, path, is_folder=row.is_folder)
        self._whole[row.name] = _fingerprint(path, row.sha256)
        if not self._home.is_scratch(row.name):
            self.copies.add(row.name, row.owner, row.size_bytes)
        logger.info("fetched %s (%d bytes)", row.name, row.size_bytes)

    def has_whole(self, row: StoredFile) -> bool:
        """Return whether this host's copy of a stored file is whole, which is read for it."""
        return self._is_whole(self._home.resolve(row.name), row, verify=True)

    def fetch_to(self, row: StoredFile, target: Path) -> None:
        """Fetch a stored file to another place than its own.

        Raises:
            StorageUnavailable, StoredFileGone, StoredFileDamaged: it cannot be fetched.
        """
        assert self.store is not None
        with self._locked(row.name):
            partial = self._partial(row)
            self.store.fetch(_content(row), partial)
            put_in_place(partial, target, is_folder=row.is_folder)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Keep other threads and processes of this host from fetching the same file."""
        place = int(_short(name), 16) % LOCKS
        with (self._home.fetching / f"lock-{place}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _needed(self) -> set[str]:
        """Return the owners of the files that running jobs read."""
        owners: set[str] = set()
        with self._db.read() as session:
            for job in session.scalars(select(Job).where(Job.status.in_(LEASED))):
                spec = job.resolved.get("spec") or job.spec
                used = {job.id, job.evaluates, ancestor_of(spec.get("init_from")), f"models/{spec['base_model']}"}
                owners |= dataset_ids(spec["dataset"]) | {one for one in used if one is not None}
        return owners

    # --- writing --------------------------------------------------------------------------------------------------

    def put(self, path: Path, prefix: str, alive: Callable[[], object] = lambda: None) -> StoredContent | None:
        """Write a file or folder to the store; nothing is visible there until `record`. None without a store.

        Raises:
            StorageUnavailable: nothing was written that anybody sees.
        """
        return None if self.store is None else self.store.put(path, prefix, alive)

    def record(self, session: Session, path: Path, content: StoredContent | None, owner: str) -> None:
        """Make what `put` wrote visible under the name of a local file, in the transaction of its owner's row."""
        if content is None:
            return
        name = self._home.relative(path)
        session.merge(StoredFile(name=name, owner=owner, created_at=now(), **vars(content)))
        if path.exists():
            self._whole[name] = _fingerprint(path, content.sha256)
            if not self._home.is_scratch(name):
                self.copies.add(name, owner, content.size_bytes)

    def forget(self, session: Session, *where: ColumnElement[bool]) -> list[str]:
        """Delete rows of stored files; return the keys for `discard`, once the transaction is committed."""
        if self.store is None:
            return []
        rows = list(session.scalars(select(StoredFile).where(*where)))
        for row in rows:
            session.delete(row)
        return [row.key for row in rows]

    def discard(self, keys: Sequence[str]) -> None:
        """Delete objects that no row names any more; what a store that is away keeps is collected later."""
        if self.store is None or not keys:
            return
        try:
            self.store.delete(keys)
        except StorageUnavailable as error:
            logger.warning("%d objects are left to the collector: %s", len(keys), error)


def _content(row: StoredFile) -> StoredContent:
    from service.shared.storage.object_store import StoredContent

    return StoredContent(row.key, row.size_bytes, row.sha256, row.is_folder)


def _fingerprint(path: Path, sha256: str) -> Fingerprint:
    """Identify what is at a path without reading it."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, sha256


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
