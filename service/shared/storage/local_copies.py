"""Copies of stored files in one host's home folder, and which of them make room for others."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

from adamss_core.fileio.atomic import write_atomically
from service.shared.storage.home import Home

logger = logging.getLogger(__name__)

IN_USE_SECONDS = 600.0  # since its last use, in which somebody may still read a copy


@dataclass(frozen=True)
class LocalCopy:
    """A note on one copy.

    Attributes:
        name: of the file, below the home folder.
        owner: as in its row.
        note: file of this note, whose modification time is that of the copy's last use.
    """

    name: str
    owner: str
    size_bytes: int
    note: Path
    used: float


class LocalCopies:
    """Notes on the copies of a home folder.

    Args:
        limit: bytes of all copies together; None for no limit.
        needed: returns the owners whose files running jobs read.
    """

    def __init__(self, home: Home, limit: int | None, needed: Callable[[], set[str]]) -> None:
        self._home, self._limit, self._needed = home, limit, needed

    def add(self, name: str, owner: str, size_bytes: int) -> None:
        """Note a copy; from now on it may be removed where room is needed, as the store has it."""
        note = json.dumps({"name": name, "owner": owner, "size_bytes": size_bytes}).encode()
        write_atomically({self._note(name): note})

    def touch(self, name: str) -> None:
        """Note that a copy is used now."""
        with suppress(FileNotFoundError):
            os.utime(self._note(name))

    def make_room(self, size_bytes: int) -> None:
        """Remove the copies used longest ago, until another one of this size fits into the limit."""
        if self._limit is not None:
            self._remove(sum(copy.size_bytes for copy in self.all()) + size_bytes - self._limit)

    def remove_unused(self) -> None:
        """Remove every copy that nobody uses: the disk is full."""
        self._remove(float("inf"))

    def all(self) -> Iterator[LocalCopy]:
        """Yield the copies."""
        for note in self._home.copies.glob("*.json"):
            with suppress(OSError, ValueError, TypeError):  # removed, or cut off with the machine's power
                yield LocalCopy(**json.loads(note.read_bytes()), note=note, used=note.stat().st_mtime)

    def _remove(self, excess: float) -> None:
        if excess <= 0:
            return
        needed, before = self._needed(), time() - IN_USE_SECONDS
        for copy in sorted(self.all(), key=lambda one: one.used):
            if excess <= 0:
                return
            if copy.owner not in needed and copy.used < before:
                _unlink(self._home.resolve(copy.name))
                copy.note.unlink(missing_ok=True)
                excess -= copy.size_bytes
                logger.info("the copy of %s was removed to make room", copy.name)

    def _note(self, name: str) -> Path:
        return self._home.copies / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _unlink(path: Path) -> None:
    """Remove a file or folder; a folder gets another name first, as half of one must not be taken for the whole."""
    if path.is_dir():
        gone = path.with_name(f".{path.name}.removed")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
