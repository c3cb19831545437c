"""Archives of data files: which members are rows, which split each belongs to, and their unpacking.

A zip is read where it lies; a tar is first written as a zip without compression, so that one reader knows all archives.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from service.datasets.conll import SUFFIXES as CONLL
from service.datasets.foreign import is_workbook, refuse_office
from service.datasets.plain_text import SUFFIXES as TEXTS
from service.datasets.rows import MEBIBYTE, Notice, refuse, too_large
from service.datasets.splits import EVAL, TEST, TRAIN, other_name, role_of
from service.datasets.text_file import unpack
from service.shared.errors import quoted_names
from service.shared.storage.member_names import is_safe

GZIP, ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")
USTAR_AT, USTAR = 257, b"ustar"
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)
TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".xlsx", *CONLL)
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
METADATA = ("metadata.csv", "metadata.jsonl")
JUNK = frozenset({"thumbs.db", "desktop.ini"})
# Files beside the data that say something about them.
ABOUT = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "package.json"}
)
PAPERS = ("readme", "license", "licence", "notice", "changelog", "citation")
MAX_MEMBERS = 500_000
SHOWN = 10  # members in a message


@dataclass(frozen=True)
class Member:
    """A data file of a zip; `number` is its position in the order of names, from 1."""

    number: int
    info: zipfile.ZipInfo
    path: PurePosixPath


@dataclass(frozen=True)
class Archive:
    """A checked archive.

    Attributes:
        splits: name -> members, in order; train first, and one only where no name tells of several.
        has_images: whether the members are images, with or without a table of metadata.
        file: the zip.
        notices: what was left aside, or how splits are used.
    """

    zip: zipfile.ZipFile
    splits: dict[str, list[Member]]
    has_images: bool
    file: IO[bytes]
    notices: list[Notice] = field(default_factory=list)

    def close(self) -> None:
        self.zip.close()
        self.file.close()


def open_archive(file: IO[bytes], limit: int, folder: Path) -> Archive | None:
    """Return the members of a zip or tar by split; None where the file is none, or an Excel workbook.

    Args:
        limit: maximum unpacked size in bytes.
        folder: for a tar's content.

    Raises:
        InvalidRequest: the archive is unsafe, or what belongs together is unclear.
        TooLarge: it unpacks to more than `limit` bytes.
    """
    opened = _as_zip(file, limit, folder)
    if opened is None:
        return None
    archive = open_zip(opened)
    if is_workbook(archive.namelist()):
        return None
    _check(archive.infolist(), limit)
    members = data_members(archive.infolist())
    if _is_of_images(members):
        members = [member for member in members if not _is_paper(member)]
        splits, notices = _divided_images(members)
        return Archive(archive, splits, has_images=True, file=opened, notices=notices)
    tables, others = _tables(members)
    _check_tables(tables)
    roles = [role_of(member.path.parts[:-1], member.path.name.partition(".")[0]) for member in tables]
    splits, notices = _divided(tables, roles)
    for name, split in splits.items():
        _check_kind(name, split)
    if others:
        shown = quoted_names([str(path) for path in others[:SHOWN]])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        notices.append(Notice("files_passed_over", None, f"The archive also holds {shown}{more}, which hold no rows."))
    return Archive(archive, splits, has_images=False, file=opened, notices=notices)


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip; raises InvalidRequest for a damaged one."""
    try:
        archive = zipfile.ZipFile(file)
        # Read later, the first would be an OSError, as this machine's own faults are.
        if any(info.header_offset < 0 or not info.filename for info in archive.infolist()):
            raise zipfile.BadZipFile("a member begins before the file, or has no name")
    except UNREADABLE as error:
        raise refuse("damaged_zip", "The zip file is damaged or cut off. Pack and upload it again.") from error
    return archive


def unpacked(archive: Archive, split: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Unpack a split's members one by one; yield the name of each and its file, which is removed afterwards."""
    for member in archive.splits[split]:
        path = folder / f"{member.number:07d}{_suffix(member.path)}"
        try:
            with archive.zip.open(member.info) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, MEBIBYTE)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise refuse(
                "damaged_zip", f"{member.path} cannot be unpacked. Pack and upload the archive again."
            ) from error
        yield str(member.path), path
        path.unlink()


def data_members(infos: Sequence[zipfile.ZipInfo]) -> list[Member]:
    """List the files in the order of names, without folders and the operating system's own files."""
    members: list[Member] = []
    for info in sorted(infos, key=lambda info: info.filename):
        path = PurePosixPath(info.filename)
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if not info.is_dir() and not hidden and path.name.lower() not in JUNK:
            members.append(Member(len(members) + 1, info, path))
    return members


# --- which members, which split ---------------------------------------------------------------------------------------


def _suffix(path: PurePosixPath) -> str:
    """Return the end of a name that tells its format, with .gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _is_of_images(members: Sequence[Member]) -> bool:
    return any(is_metadata(member) or _suffix(member.path) in IMAGES for member in members) or not any(
        _kind(member) in (*TABLES, *TEXTS, *ARCHIVES) for member in members
    )


def is_metadata(member: Member) -> bool:
    """Return whether a file is a table of the images beside it."""
    return member.path.name.lower() in METADATA


def _kind(member: Member) -> str:
    """Return the end of a member's name that tells what it holds, packed or not."""
    return _suffix(member.path).removesuffix(".gz")


def _tables(members: Sequence[Member]) -> tuple[list[Member], list[PurePosixPath]]:
    """Return the members with rows, and the paths of the others; text counts where there is nothing else."""
    known = [member for member in members if member.path.name.lower() not in ABOUT]
    tables = [member for member in known if _kind(member) in TABLES]
    if not tables:
        texts = [member for member in known if _kind(member) in TEXTS]
        tables = [one for one in texts if not one.path.name.lower().startswith(PAPERS)] or texts
    numbers = {member.number for member in tables}
    return tables, [member.path for member in members if member.number not in numbers]


def _is_paper(member: Member) -> bool:
    """Return whether a file beside images is about them, such as a licence."""
    name = member.path.name.lower()
    return _suffix(member.path) in TEXTS or name.startswith(PAPERS) or name in ABOUT


def _divided_images(members: list[Member]) -> tuple[dict[str, list[Member]], list[Notice]]:
    """Return split -> images, with the tables that describe them.

    Where a table describes them, they may lie in the split's folder itself; else the folder above is their class.
    """
    tables = {one.number for one in members if is_metadata(one) or _suffix(one.path) == ".json"}
    if not tables:
        return _divided(members, [role_of(member.path.parts[:-2]) for member in members])
    roles = [role_of(one.path.parts[:-1], one.path.stem if one.number in tables else "") for one in members]
    shared = [one for one, role in zip(members, roles, strict=True) if one.number in tables and role is None]
    several = {role for role in roles if role is not None}
    if not shared or len(several) < 2:
        return _divided(members, roles)
    message = (
        f"The folders of {quoted_names(sorted(several))} are read as one data set, as {shared[0].path} describes them "
        "all. To evaluate on one, upload each with a table of its own."
    )
    return {TRAIN: members}, [Notice("splits_joined", None, message)]


def _check_tables(tables: Sequence[Member]) -> None:
    if not tables:
        raise refuse(
            "archive_in_archive", "The archive holds only archives. Unpack it, and upload each of them by itself."
        )


def _divided(members: list[Member], roles: Sequence[str | None]) -> tuple[dict[str, list[Member]], list[Notice]]:
    """Return split -> members; one split where no name tells of several."""
    named = {role for role in roles if role is not None}
    if not named or (len(named) == 1 and None not in roles):
        return {TRAIN: members}, []
    splits: dict[str, list[Member]] = {}
    for member, role in zip(members, roles, strict=True):
        splits.setdefault(role or other_name(member.path), []).append(member)
    order = {TRAIN: 0, EVAL: 1, TEST: 2}
    splits = dict(sorted(splits.items(), key=lambda item: (order.get(item[0], 3), item[0])))
    others = [name for name in splits if name not in order]
    notices = [_said(list(splits), others)]
    return splits, notices


def _said(names: list[str], others: list[str]) -> Notice:
    message = f"The archive is stored as {len(names)} data sets, {', '.join(names)}."
    if EVAL in names or TEST in names:
        used = " and ".join(f"dataset.{name}" for name in (EVAL, TEST) if name in names)
        message += f" A job on the first takes {used} from the others, where it names none itself."
    if EVAL not in names:
        message += " None is named for evaluation, so a share of the training rows is held out."
    if others:
        message += f" No job takes {quoted_names(others)} by itself."
    return Notice("splits", None, message)


def _check_kind(name: str, members: Sequence[Member]) -> None:
    """Refuse files of several formats that no name divides."""
    kinds = {_suffix(member.path) for member in members}
    if len(kinds) > 1:
        raise refuse(
            "several_formats",
            f"Which files belong together is unclear: {quoted_names([str(one.path) for one in members[:SHOWN]])} are "
            f"of several formats, and no name says train, validation or test. Keep those of '{name}' in one format, or "
            "upload each by itself.",
        )


# --- safety -----------------------------------------------------------------------------------------------------------


def _check(infos: Sequence[zipfile.ZipInfo], limit: int) -> None:
    _check_number(len(infos))
    refuse_office({info.orig_filename for info in infos})
    for info in infos:
        _check_name(info.orig_filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _link(info.orig_filename)
        if info.flag_bits & 0x1:
            raise refuse("encrypted_zip", "The zip is encrypted. Pack it without a password.")
    size = sum(info.file_size for info in infos)
    if size > limit:
        raise too_large(
            "unpacks_too_large", f"The archive unpacks to {size:,} bytes; the service accepts {limit:,}. Split it."
        )


def _check_number(members: int) -> None:
    if members > MAX_MEMBERS:
        raise too_large(
            "too_many_files", f"The archive holds over {MAX_MEMBERS:,} files; no more are accepted. Split it."
        )


def _check_name(name: str) -> None:
    if not is_safe(name):
        raise refuse("unsafe_zip", f"The archive has a member that leads out of its folder: {name[:100]!r}.")


def _link(name: str) -> Exception:
    return refuse("unsafe_zip", f"The archive has a link in it: {name[:100]!r}. Pack the files themselves.")


def _as_zip(file: IO[bytes], limit: int, folder: Path) -> IO[bytes] | None:
    """Return the file itself if it is a zip, a tar written as a zip, or None."""
    file.seek(0)
    head = file.read(USTAR_AT + len(USTAR))
    file.seek(0)
    if head.startswith(ZIP):
        return file
    content = file
    if head.startswith(GZIP):
        content = unpack(file, limit)
        head = content.read(USTAR_AT + len(USTAR))
        content.seek(0)
    if head[USTAR_AT:] == USTAR:
        return _tar_as_zip(content, limit, folder / "tar.zip")
    file.seek(0)
    return None


def _tar_as_zip(file: IO[bytes], limit: int, path: Path) -> IO[bytes]:
    size = 0
    try:
        with (
            tarfile.open(fileobj=file, mode="r:") as tar,
            zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target,
        ):
            for number, member in enumerate(tar, start=1):
                _check_number(number)
                _check_name(member.name)
                if member.isdir():
                    continue
                if not member.isfile() or (source := tar.extractfile(member)) is None:
                    raise _link(member.name)
                size += member.size
                if size > limit:
                    raise too_large(
                        "unpacks_too_large", f"The archive unpacks to more than the {limit:,} bytes that are accepted."
                    )
                with source, target.open(member.name, "w", force_zip64=True) as written:
                    shutil.copyfileobj(source, written, MEBIBYTE)
    except tarfile.TarError as error:
        raise refuse("damaged_tar", "The tar file is damaged or cut off. Pack and upload it again.") from error
    return path.open("rb")
