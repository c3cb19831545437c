"""Identify an uploaded file, as it is read by this version: the same file in the same project is one data set."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path, PurePath
from typing import IO

MODULES = Path(__file__).parent


def identify(file: IO[bytes], filename: str) -> str:
    """Hash a file's bytes, what the end of its name says of its format, and the readers.

    Returns:
        64 hexadecimal digits. Other columns, rows or profiles are possible only under another identity.
    """
    file.seek(0)
    content = hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type] # reads what has readinto
    file.seek(0)
    suffix = PurePath(filename.lower().removesuffix(".gz")).suffix
    return hashlib.sha256(content + readers_version() + suffix.encode(errors="replace")).hexdigest()


@cache
def readers_version() -> bytes:
    """Hash the modules that read files: after an upgrade that changed one, a file is read anew."""
    digest = hashlib.sha256()
    for path in sorted(MODULES.rglob("*.py")):
        digest.update(path.relative_to(MODULES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.digest()
