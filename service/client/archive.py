"""Unpacking an artifact's zip, as suspicious of its names as of anyone's."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a zip; the folder appears whole.

    Raises:
        FileExistsError: the folder is there already; what is in it may be someone's work.
        ValueError: a member's name leads out of the folder.
    """
    if folder.exists():
        raise FileExistsError(f"The folder {folder} is there already. Remove it, or choose another place.")
    part = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                    raise ValueError(f"{archive} holds a member that leads out of its folder: {name!r}")
            file.extractall(part)
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
