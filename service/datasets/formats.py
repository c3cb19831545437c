"""Detection of a file's format, and its reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import IO

from service.datasets.archives import GZIP, USTAR, USTAR_AT, ZIP, open_zip
from service.datasets.conll import SUFFIXES as CONLL_SUFFIXES
from service.datasets.conll import is_conll, read_conll
from service.datasets.foreign import ACCEPTED, TEXT_SIGNS, office_kind, refuse_binary, refuse_text
from service.datasets.image_modes import ImageModes
from service.datasets.image_store import ImageStore
from service.datasets.json_document import read_document
from service.datasets.json_rows import is_array, read_json_array, read_json_lines
from service.datasets.parquet import ARROW_FILE, Table, open_arrow, open_parquet
from service.datasets.plain_text import SUFFIXES as TEXT_SUFFIXES
from service.datasets.plain_text import is_table, read_text
from service.datasets.rows import Format, Notice, NumberedRow, Problem, refuse, too_large
from service.datasets.spreadsheet import read_xlsx
from service.datasets.tabular import read_csv
from service.datasets.text_file import MARKS, TextFile, open_text, unpack

PARQUET = b"PAR1"
HEAD_BYTES = USTAR_AT + len(USTAR)
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    **dict.fromkeys(CONLL_SUFFIXES, "conll"),
}


@dataclass
class Opened:
    """A readable file.

    Attributes:
        notices: notices so far; complete after the last row.
        name: of the member, in an archive of several files.
        modes: of a zip's images so far.
    """

    format: Format
    rows: Iterator[NumberedRow | Problem]
    notices: list[Notice] = field(default_factory=list)
    modes: ImageModes = field(default_factory=ImageModes)
    name: str | None = None


def open_rows(file: IO[bytes], name: str, images: ImageStore, limit: int) -> Opened:
    """Detect the format by content where that is certain, else by the file's name, else by its first character.

    Args:
        images: takes those of a Parquet or Arrow file.
        limit: maximum unpacked size in bytes.

    Raises:
        InvalidRequest: the format is unsupported or the file is unreadable; the message gives a remedy.
        TooLarge: the file exceeds `limit`.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head.startswith(PARQUET):
        return _of_columns("parquet", open_parquet(file, limit), images, limit)
    if head.startswith(ARROW_FILE) or _suffix(name) == ".arrow":
        return _of_columns("arrow", open_arrow(file), images, limit)
    if head.startswith(ZIP):
        notices = list[Notice]()
        _refuse_archive(file)
        return Opened("xlsx", read_xlsx(file, limit, notices), notices)
    if head.startswith(GZIP):
        file, name = unpack(file, limit), name.lower().removesuffix(".gz")
        head = file.read(HEAD_BYTES)
    elif not head.startswith(tuple(mark for mark, _ in MARKS)) and _size(file) > limit:
        raise too_large("too_large", f"The file is larger than the {limit:,} bytes that the service accepts. Split it.")
    _refuse_foreign(head)
    return _open_text(open_text(file), name)


def _of_columns(format_: Format, table: Table, images: ImageStore, limit: int) -> Opened:
    notices = list[Notice]()
    if table.has_images:
        return Opened("images", table.rows_of_images(images, limit, notices), notices, images.modes)
    return Opened(format_, table.rows(limit), notices)


def _open_text(text: TextFile, name: str) -> Opened:
    notices = list(text.notices)
    refuse_text(text.beginning(TEXT_SIGNS))
    named = SUFFIXES.get(_suffix(name))
    format_ = named or _by_first_sign(text)
    if format_ in ("jsonl", "json"):
        if is_array(text):
            return Opened("json", read_json_array(text), notices)
        if (rows := read_document(text, notices, is_lines=named == "jsonl")) is not None:
            return Opened("json", rows, notices)
        return Opened("jsonl", read_json_lines(text), notices)
    if format_ == "conll" or is_conll(text, is_named=named is not None):
        return Opened("conll", read_conll(text, notices), notices)
    if _suffix(name) in TEXT_SUFFIXES and not is_table(text):
        return Opened("text", read_text(text, _suffix(name), notices), notices)
    return Opened(format_, read_csv(text, notices), notices)


def _suffix(name: str) -> str:
    return PurePath(name.lower()).suffix


def _refuse_archive(file: IO[bytes]) -> None:
    """Refuse a zip that is no workbook: archives are opened before, so this one lies in another."""
    if office_kind(open_zip(file).namelist()) != "a spreadsheet":
        raise _nested_archive()


def _nested_archive() -> Exception:
    return refuse("archive_in_archive", f"This is an archive in an archive. Unpack it. {ACCEPTED}")


def _refuse_foreign(head: bytes) -> None:
    refuse_binary(head)
    if head[USTAR_AT:] == USTAR:
        raise _nested_archive()
    if head.startswith((GZIP, PARQUET, *ZIP)):
        raise refuse("unsupported_format", f"This is packed twice. Unpack it. {ACCEPTED}")


def _by_first_sign(text: TextFile) -> Format:
    for chunk in text.chunks():
        if stripped := chunk.lstrip("\ufeff \t\r\n"):
            return "jsonl" if stripped.startswith(("{", "[{", "[\n", "[ ", "[\r")) else "csv"
    return "csv"


def _size(file: IO[bytes]) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size
