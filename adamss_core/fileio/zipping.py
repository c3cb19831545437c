"""Write zips that depend on the content of their members only: equal content gives equal bytes."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO

from adamss_core.fileio.fsync import sync_open_file
from adamss_core.fileio.walk import files_below

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time that the zip format can express
MODE = 0o644
PIECE = 1 << 20  # bytes copied at a time


def write_zip(path: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write a zip and fsync it.

    Members are stored uncompressed: weights and Parquet do not compress.

    Args:
        members: name in the zip -> file or content, in the order in which they are written.
    """
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                with _opened(content) as source, archive.open(_entry(name, content), "w") as target:
                    shutil.copyfileobj(source, target, PIECE)
        sync_open_file(file)


def zip_folder(folder: Path, path: Path) -> None:
    """Write all files below a folder as a zip, sorted by name, and fsync it."""
    write_zip(path, {file.relative_to(folder).as_posix(): file for file in files_below(folder)})


def _opened(content: Path | bytes) -> IO[bytes]:
    return BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _entry(name: str, content: Path | bytes) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.external_attr = MODE << 16
    # Known beforehand, the size decides whether the entry needs the fields for more than 4 GiB.
    entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return entry
