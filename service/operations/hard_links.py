"""Copy files by hard links, where the file system has them; linked files are never modified afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(source: str | Path, target: str | Path) -> str:
    """Link a file, or copy it; replace what is at the target."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
    return str(target)


def link_all(source: Path, target: Path) -> None:
    """Link a file, or every file of a folder."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)
    else:
        link(source, target)
