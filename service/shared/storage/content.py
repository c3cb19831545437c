"""Read a file or a folder as one stream of bytes, as a store keeps it, and write it back.

A folder becomes a tar of its files whose bytes depend on names and content only, so that its sha256 can be computed
from the folder alone and tells whether a copy of it is whole.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from adamss_core.fileio.fsync import sync_file, sync_folder
from adamss_core.fileio.walk import files_below

PIECE = 1 << 20  # bytes read at a time
_BLOCK = tarfile.BLOCKSIZE


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, or of the tar of a folder."""
    if not path.is_dir():
        yield from _read(path)
        return
    for file in files_below(path):
        yield _header(file.relative_to(path).as_posix(), file.stat().st_size)
        yield from _read(file)
        yield bytes(-file.stat().st_size % _BLOCK)
    yield bytes(2 * _BLOCK)


def size_of(path: Path) -> int:
    """Return the number of bytes that `pieces` yields."""
    if not path.is_dir():
        return path.stat().st_size
    total = 2 * _BLOCK
    for file in files_below(path):
        size = file.stat().st_size
        total += len(_header(file.relative_to(path).as_posix(), size)) + size + -size % _BLOCK
    return total


def digest_of(path: Path) -> str:
    """Return the sha256 of the bytes that `pieces` yields."""
    digest = hashlib.sha256()
    for piece in pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def put_in_place(stream: Path, target: Path, *, is_folder: bool) -> None:
    """Rename a complete stream to its target, or unpack it there; the target is whole or absent at any moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not is_folder:
        sync_file(stream)
        stream.replace(target)
        sync_folder(target.parent)
        return
    staged, old = (target.with_name(f".{target.name}.{kind}-{stream.name}") for kind in ("new", "old"))
    for left in (staged, old):
        shutil.rmtree(left, ignore_errors=True)
    staged.mkdir()
    with tarfile.open(stream) as archive:
        archive.extractall(staged, filter="data")
    if target.exists():
        target.rename(old)
    staged.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    stream.unlink()


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
