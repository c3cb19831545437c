"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_atomically(files: Mapping[Path, bytes]) -> None:
    """Writes all files under temporary names beside their own, fsyncs them, and only then renames them, in order.

    A full disk or an interrupt before the first rename leaves every old file as it was.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
            staged.append((Path(name), path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in staged:
            temporary.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared folder
            temporary.replace(path)
    except BaseException:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise
    for folder in dict.fromkeys(path.parent for path in files):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Makes renames in it last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
