"""Delete objects of the store that no row names: left by processes that died, and by deletions while it was away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from service.shared.database.engine import Database
from service.shared.database.tables import DECOMPOSITIONS, Dataset, Job, StoredFile, now
from service.shared.storage.pairing import STORE_ID

if TYPE_CHECKING:
    from service.shared.storage.object_store import ListedObject, ObjectStore

logger = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(days=1)  # from which on an object without a row is one for good: nothing takes so long to put
DECOMPOSITION_AGE = timedelta(days=30)
BATCH = 500  # objects compared, and deleted, at a time


class StoreCollector:
    """Collect the objects below the URL of a store."""

    def __init__(self, db: Database, store: ObjectStore) -> None:
        self._db, self._store = db, store

    def collect(self, alive: Callable[[], object] = lambda: None) -> int:
        """Delete orphans; return their number. A database without a job and a data set is not trusted.

        Args:
            alive: called for each batch of objects.

        Raises:
            StorageUnavailable: the store does not answer.
        """
        with self._db.read() as session:
            if not any(session.scalars(select(table.id).limit(1)).first() for table in (Job, Dataset)):
                return 0
        self._forget_old_decompositions()
        deleted = 0
        batch: list[ListedObject] = []
        before = datetime.now(UTC) - ORPHAN_AGE
        for found in self._store.list(""):
            if found.modified < before and found.key != STORE_ID:
                batch.append(found)
            if len(batch) == BATCH:
                alive()
                deleted += self._delete(batch)
                batch.clear()
        return deleted + self._delete(batch)

    def _forget_old_decompositions(self) -> None:
        """Forget entries of the cache after a time: one that is still used is uploaded again."""
        old = StoredFile.created_at < now() - DECOMPOSITION_AGE
        with self._db.write() as session:
            session.execute(delete(StoredFile).where(StoredFile.owner == DECOMPOSITIONS, old))

    def _delete(self, batch: list[ListedObject]) -> int:
        keys = [found.key for found in batch]
        with self._db.read() as session:
            known = set(session.scalars(select(StoredFile.key).where(StoredFile.key.in_(keys))))
        orphans = [key for key in keys if key not in known]
        self._store.delete(orphans)
        if orphans:
            logger.info("%d objects that no row names were deleted, %s among them", len(orphans), orphans[0])
        return len(orphans)
