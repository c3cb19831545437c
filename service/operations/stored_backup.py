"""The part of a backup that lies in a store: its files come into the archive, which so depends on no store."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby

from service.operations.hard_links import link_all
from service.shared.database.tables import DECOMPOSITIONS, StoredFile
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles
from service.shared.storage.log_chunks import is_chunk, read_chunks
from service.shared.storage.object_store import ObjectStore


class StoredStage:
    """Copies of stored files in the folder of which a backup is made.

    Args:
        files: of this host, which has a store.
        models: whether to include base models.
    """

    def __init__(self, files: HostFiles, home: Home, stage: Home, *, models: bool) -> None:
        assert files.store is not None
        self._files, self._home, self._stage, self._models = files, home, stage, models
        self._store: ObjectStore = files.store
        self._keys: dict[str, str] = {}  # of what is staged, by name

    def take(self, snapshot: sqlite3.Connection) -> set[str]:
        """Stage what a snapshot of the database names in the store; the snapshot then forgets the store.

        Returns:
            The names of the files that the store has.

        Raises:
            StoredFileGone: a file was deleted since: another snapshot does not name it.
            StorageUnavailable, StoredFileDamaged: a file cannot be fetched.
        """
        rows = list(_rows(snapshot))
        plain = [row for row in rows if not is_chunk(row.name) and self._wants(row)]
        for row in plain:
            if self._keys.get(row.name) != row.key:
                self._stage_one(row)
                self._keys[row.name] = row.key
        chunks = (row for row in rows if is_chunk(row.name))
        for job_id, parts in groupby(chunks, key=lambda row: row.owner):
            self._write_log(job_id, list(parts))
        snapshot.execute("DELETE FROM stored_files")
        snapshot.commit()
        return {row.name for row in plain}

    def _wants(self, row: StoredFile) -> bool:
        return row.owner != DECOMPOSITIONS and (self._models or not row.owner.startswith("models/"))

    def _stage_one(self, row: StoredFile) -> None:
        target = self._stage.resolve(row.name)
        if target.is_dir():  # of an earlier snapshot, or of this host's running job
            shutil.rmtree(target)
        if self._files.has_whole(row):
            link_all(self._home.resolve(row.name), target)
        else:
            self._files.fetch_to(row, target)

    def _write_log(self, job_id: str, chunks: list[StoredFile]) -> None:
        log = self._stage.job(job_id).log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(read_chunks(self._store, chunks, 0, sum(chunk.size_bytes for chunk in chunks)))


def _rows(snapshot: sqlite3.Connection) -> Iterator[StoredFile]:
    """Yield the rows of stored files in the order of their names, which is that of a log's chunks."""
    columns = ("name", "owner", "key", "size_bytes", "sha256", "is_folder")
    with closing(snapshot.execute(f"SELECT {', '.join(columns)} FROM stored_files ORDER BY name")) as found:
        for values in found:
            yield StoredFile(**dict(zip(columns, values, strict=True)))
