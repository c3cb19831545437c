"""Write files that are either whole or absent."""

from __future__ import annotations

import secrets
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
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
            staged.append((temporary, path))
            with temporary.open("xb") as file:  # its rights are the umask's to decide, as mkstemp's 0600 would not be
                file.write(content)
                sync_open_file(file)
        for temporary, path in staged:
            temporary.replace(path)
    except BaseException:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise
    for folder in dict.fromkeys(path.parent for path in files):
        sync_folder(folder)
