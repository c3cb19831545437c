"""Flush files and folders to the disk, so that they survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def sync_open_file(file: IO[bytes]) -> None:
    """Flush and fsync a file that is open for writing."""
    file.flush()
    os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Fsync a file that another library has written and closed."""
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Fsync a folder: until then a new, renamed or removed entry in it may be lost."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
