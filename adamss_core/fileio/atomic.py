"""Write files that are either whole or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from adamss_core.fileio.fsync import sync_folder, sync_open_file


def write_atomically(files: Mapping[Path, bytes]) -> None:
    """Write all files under temporary names beside their own, fsync them, and only then rename them, in order.

    A full disk or an interrupt before the first rename leaves every old file as it was.
    """
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
            staged.append((Path(name), path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                sync_open_file(file)
        for temporary, path in staged:
            temporary.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared folder
            temporary.replace(path)
    except BaseException:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise
    for folder in dict.fromkeys(path.parent for path in files):
        sync_folder(folder)
