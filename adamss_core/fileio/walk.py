"""List the files of a folder."""

from __future__ import annotations

from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and its subfolders, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
