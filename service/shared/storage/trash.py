"""Files that no row names, kept for a day.

They lie in trash/TIME/PATH, where PATH is the place in the home folder that they came from, so moving one back is easy.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adamss_core.fileio.walk import files_below
from service.shared.storage.home import Home

logger = logging.getLogger(__name__)

KEPT = timedelta(days=1)
_TIME = "%Y%m%dT%H%M%SZ"


class Trash:
    """The trash of one home folder."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def move(self, path: Path) -> None:
        """Move a file or folder here; does nothing if it is gone."""
        place = self._home.trash / datetime.now(UTC).strftime(_TIME) / self._home.relative(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.move(path, place)  # a folder of the home may be a disk of its own
            logger.info("no row names %s: moved to %s", path, place)

    def empty(self, kept: timedelta = KEPT) -> int:
        """Remove what has been here for longer than `kept`; return the bytes of it."""
        freed, before = 0, datetime.now(UTC) - kept
        for folder in self._home.trash.iterdir():
            if _moved_at(folder) <= before:
                freed += _size(folder)
                shutil.rmtree(folder, ignore_errors=True)
        return freed

    def size(self) -> int:
        """Return the bytes of what is here."""
        return _size(self._home.trash)


def _moved_at(folder: Path) -> datetime:
    """Return the time in a folder's name; a folder of another name was not put here by us, and stays."""
    with suppress(ValueError):
        return datetime.strptime(folder.name, _TIME).replace(tzinfo=UTC)
    return datetime.max.replace(tzinfo=UTC)


def _size(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in files_below(folder))
    return 0
