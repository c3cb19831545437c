"""Safe extraction of an artifact's zip."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp


def unpack(archive: Path, folder: Path) -> Path:
    """Extract a zip into a new folder, atomically.

    Raises:
        FileExistsError: the folder exists already; its content may be somebody's work.
        ValueError: a member's name leads out of the folder.
    """
    if folder.exists():
        raise FileExistsError(f"The folder {folder} exists already. Remove it, or choose another one.")
    part = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
                    raise ValueError(f"{archive} contains a member that leads out of its folder: {name!r}")
            file.extractall(part)
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
