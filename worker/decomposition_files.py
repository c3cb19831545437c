"""Share the cache of decompositions between hosts: fetched when a run needs one, uploaded when it has made one.

An entry is a convenience, never a need: whatever fails here costs the time of computing it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.engine import Database
from service.shared.database.tables import DECOMPOSITIONS, StoredFile
from service.shared.errors import ServiceError
from service.shared.storage.home import Home, JobFolder
from service.shared.storage.host_files import HostFiles
from service.shared.storage.store_errors import StorageUnavailable

logger = logging.getLogger(__name__)


class DecompositionFetch:
    """Fetch the entries that a run needs, in its training process.

    Args:
        files: of this host.
        folder: of the job, in which the needed entries are listed for the worker.
    """

    def __init__(self, files: HostFiles, folder: JobFolder) -> None:
        self._files, self._folder = files, folder
        self._away = False

    def need(self, path: Path) -> None:
        """Bring an entry here if the store has it, and list it. A store that is away is asked once."""
        if not path.exists() and not self._away:
            try:
                self._files.local(path)
            except (ServiceError, OSError) as error:
                self._away = isinstance(error, StorageUnavailable)
                logger.warning("%s is computed here: %s", path.name, error)
        with self._folder.decompositions.open("a") as listed:
            listed.write(f"{path.name}\n")


class DecompositionUploads:
    """Upload the entries that an attempt lists and the store lacks, in its worker."""

    def __init__(self, files: HostFiles, home: Home, db: Database, folder: JobFolder) -> None:
        self._files, self._home, self._db, self._folder = files, home, db, folder
        self._read = 0  # characters of the list
        self._pending: set[str] = set()  # listed, and perhaps not written yet

    def upload(self) -> None:
        """Upload what was written since the last call.

        Raises:
            StorageUnavailable: the rest is left to the next call.
        """
        self._pending |= self._listed()
        paths = [path for name in sorted(self._pending) if (path := self._home.decompositions / name).exists()]
        if not paths:
            return
        with self._db.read() as session:
            known = self._known(session, paths)
        contents = [(path, self._files.put(path, DECOMPOSITIONS)) for path in paths if path not in known]
        gone: list[str] = []
        with self._db.write() as session:
            known = self._known(session, paths)  # another worker may have been quicker
            for path, content in contents:
                if path not in known:
                    self._files.record(session, path, content, DECOMPOSITIONS)
                elif content is not None:
                    gone.append(content.key)
        self._files.discard(gone)
        self._pending -= {path.name for path in paths}

    def _listed(self) -> set[str]:
        if not self._folder.decompositions.exists():
            return set()
        text = self._folder.decompositions.read_text()
        end = text.rfind("\n") + 1
        new, self._read = text[self._read : end], end
        return set(new.splitlines())

    def _known(self, session: Session, paths: list[Path]) -> set[Path]:
        names = [self._home.relative(path) for path in paths]
        rows = session.scalars(select(StoredFile.name).where(StoredFile.name.in_(names)))
        return {self._home.resolve(name) for name in rows}
