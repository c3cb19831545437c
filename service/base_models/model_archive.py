"""Unpack a model's archive as it arrives: a tar is read as a stream, a zip is first written to the disk.

Only the files that a model is loaded from are written, each hashed and fsynced on the way. Folders around them are
accepted, as most programs pack one.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from adamss_core.fileio.fsync import sync_open_file
from service.shared.errors import InvalidRequest, model_too_large
from service.shared.model_selection import REMEDY, is_pickle, is_wanted
from service.shared.storage.member_names import is_safe
from service.shared.storage.model_folder import ModelFile

MEBIBYTE = 2**20
MAX_MEMBERS = 10_000
MAX_DEPTH = 6  # folders around a model
SHOWN = 20  # names of files that were left out
ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, RuntimeError, OSError, ValueError,
)  # fmt: skip


def refuse(code: str, message: str) -> InvalidRequest:
    """Make the error of an archive that cannot be used."""
    return InvalidRequest(message, code=code, param="file")


@dataclass(frozen=True)
class ModelMember:
    """A file of an archive; `open` reads it, once."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


@dataclass
class UnpackedModel:
    """What an archive held.

    Attributes:
        files: path in the archive -> the file as written.
        left_out: first names of the files that no model is loaded from.
        left_out_count: of all of them.
    """

    files: dict[str, ModelFile] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    left_out_count: int = 0

    def leave_out(self, name: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < SHOWN:
            self.left_out.append(name[:200])


def unpack(source: BufferedReader, folder: Path, limit: int) -> UnpackedModel:
    """Unpack the files of a model into `folder`, under their paths in the archive.

    Args:
        source: zip, tar, or compressed tar.
        limit: maximum bytes of all members together.

    Raises:
        InvalidRequest, TooLarge: the archive cannot be used.
        OSError: this machine cannot write the files.
    """
    unpacked, seen, left = UnpackedModel(), set[str](), limit
    for number, member in enumerate(_members(source, folder, limit), start=1):
        name = _checked_name(member.name)
        if number > MAX_MEMBERS:
            raise refuse("too_many_files", f"The archive holds over {MAX_MEMBERS:,} files. Pack one model alone.")
        left -= member.size
        if left < 0:
            raise model_too_large(limit)
        if is_pickle(name):
            raise refuse("pickle_weights", f"'{_shown(name)}' is a pickle. {REMEDY}")
        path = PurePosixPath(name)
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if hidden or not is_wanted(path.name) or len(path.parts) > MAX_DEPTH:
            unpacked.leave_out(name)
            continue
        if name.casefold() in seen:  # not every disk tells cases apart
            raise refuse("repeated_file", f"The archive holds '{_shown(name)}' twice. Pack the folder again.")
        seen.add(name.casefold())
        unpacked.files[name] = _write(member, folder / name)
    return unpacked


def find_root(files: dict[str, ModelFile]) -> PurePosixPath:
    """Return the folder of the archive that holds config.json; the uppermost, which must be one alone.

    Raises:
        InvalidRequest: the archive holds no config.json, or several models.
    """
    roots = [PurePosixPath(name).parent for name in files if PurePosixPath(name).name == "config.json"]
    if not roots:
        message = "config.json is missing. Pack the whole folder that save_pretrained has written."
        raise refuse("missing_file", message)
    depth = min(len(root.parts) for root in roots)
    uppermost = sorted(root for root in roots if len(root.parts) == depth)
    if len(uppermost) > 1:
        names = ", ".join(f"'{_shown(str(root))}'" for root in uppermost[:3])
        raise refuse("several_models", f"The archive holds several models: {names}. Add each by itself.")
    return uppermost[0]


def gather(unpacked: UnpackedModel, folder: Path, target: Path) -> dict[str, ModelFile]:
    """Move the files beside config.json into `target`; return them by name. Files of deeper folders are left out."""
    root = find_root(unpacked.files)
    target.mkdir()
    gathered: dict[str, ModelFile] = {}
    for name, file in sorted(unpacked.files.items()):
        path = PurePosixPath(name)
        if path.parent == root:
            (folder / name).rename(target / path.name)
            gathered[path.name] = file
        else:
            unpacked.leave_out(name)
    return gathered


def _members(source: BufferedReader, folder: Path, limit: int) -> Iterator[ModelMember]:
    head = source.peek(4)[:4]
    if not head:
        raise refuse("empty_body", "The body is empty. Send a zip or tar of the model's folder as the body itself.")
    yield from _of_zip(source, folder, limit) if head.startswith(ZIPS) else _of_tar(source)


def _of_tar(source: IO[bytes]) -> Iterator[ModelMember]:
    with _readable("tar"), tarfile.open(fileobj=source, mode="r|*", bufsize=MEBIBYTE) as tar:
        for member in tar:
            if member.isdir():
                _checked_name(member.name)
            elif member.isreg():
                yield ModelMember(member.name, member.size, lambda one=member: tar.extractfile(one))  # type: ignore[misc]
            else:
                raise _link(member.name)


def _of_zip(source: IO[bytes], folder: Path, limit: int) -> Iterator[ModelMember]:
    archive = folder / ".upload.zip"
    with archive.open("wb") as file:
        shutil.copyfileobj(source, file, MEBIBYTE)
    with _readable("zip"), zipfile.ZipFile(archive) as opened:
        if sum(info.file_size for info in opened.infolist()) > limit:
            raise model_too_large(limit)
        for info in opened.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _link(info.orig_filename)
            if info.flag_bits & 0x1:
                raise refuse("encrypted_zip", "The zip is encrypted. Pack it without a password.")
            if info.is_dir():
                _checked_name(info.orig_filename)
            else:
                yield ModelMember(info.orig_filename, info.file_size, lambda one=info: opened.open(one))  # type: ignore[misc]
    archive.unlink()


@contextmanager
def _readable(kind: str) -> Iterator[None]:
    """Translate errors of the reader; those of writing are raised by the consumer, outside of it."""
    try:
        yield
    except UNREADABLE as error:
        raise refuse(
            "damaged_archive",
            f"The body is no readable zip or tar, or was cut off (read as {kind}: {type(error).__name__}). Pack the "
            "model's folder again and send the archive as the body itself.",
        ) from error


def _write(member: ModelMember, path: Path) -> ModelFile:
    """Write a member, hashed on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with _readable("archive"):
        source = member.open()
    if source is None:
        raise _link(member.name)
    with source, path.open("xb") as target:
        while True:
            with _readable("archive"):
                piece = source.read(MEBIBYTE)
            if not piece:
                break
            size += len(piece)
            if size > member.size:
                raise refuse("damaged_archive", f"'{_shown(member.name)}' is longer than the archive says.")
            digest.update(piece)
            target.write(piece)
        sync_open_file(target)
    if size < member.size:
        raise refuse("damaged_archive", f"The archive was cut off in '{_shown(member.name)}'. Send it again.")
    return {"size_bytes": size, "sha256": digest.hexdigest()}


def _checked_name(name: str) -> str:
    if not is_safe(name):
        raise refuse("unsafe_archive", f"The archive has a member that leads out of its folder: {_shown(name)!r}.")
    return PurePosixPath(name).as_posix()


def _link(name: str) -> InvalidRequest:
    return refuse(
        "unsafe_archive",
        f"The archive has a link or a device in it: '{_shown(name)}'. Pack the files themselves, as tar -h does.",
    )


def _shown(name: str) -> str:
    return name[:100]
