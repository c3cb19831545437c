"""Recognition of files that hold no rows, so that each is refused by its right name."""

from __future__ import annotations

import re
from collections.abc import Collection

from service.datasets.rows import refuse

ACCEPTED = "Upload CSV, TSV, JSON, JSONL, Excel (.xlsx), Parquet, Arrow, CoNLL, plain text, or a zip of images."
TEXT_SIGNS = 4_096  # of a text, in which its kind is looked for

# By the first bytes.
BINARY = {
    b"%PDF": "a PDF",
    b"\x89PNG": "a single image",
    b"\xff\xd8\xff": "a single image",
    b"GIF8": "a single image",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"SQLite format 3": "an SQLite database",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x80\x02": "a Python pickle, which is never loaded",
    b"\x80\x03": "a Python pickle, which is never loaded",
    b"\x80\x04": "a Python pickle, which is never loaded",
    b"\x80\x05": "a Python pickle, which is never loaded",
}
# By the first signs of a text, blanks left out: the sentence that the file gets.
TEXTS = (
    (
        re.compile(r"version https://git-lfs\.github\.com/spec/"),
        "This is a Git LFS pointer, not the file that it stands for. Run `git lfs pull` in its repository, or download "
        "the file itself, and upload that.",
    ),
    (
        re.compile(r"<!doctype html|<html\b|<head\b|<body\b", re.IGNORECASE),
        "This is an HTML page, such as a site sends in place of a file when a login or the right address is missing. "
        "Open it in a browser to see what it says, and download the file again.",
    ),
    (re.compile(r"<\?xml\b|<!doctype\b|<svg\b", re.IGNORECASE), f"This is an XML file. Convert it to rows. {ACCEPTED}"),
    (re.compile(r"\{\\rtf"), f"This is an RTF document. Save its table as CSV. {ACCEPTED}"),
    (
        re.compile(
            r'\{\s*"(cells"\s*:\s*\[\s*[{\]]|nbformat"|metadata"\s*:\s*\{\s*"(kernelspec|language_info|colab)")'
        ),
        'This is a Jupyter notebook. Write its table to a file, as with `frame.to_csv("data.csv", index=False)`, and '
        "upload that.",
    ),
)
# By the folder of a zip that has [Content_Types].xml, and by the first member of OpenDocument.
OFFICE = {"xl": "a spreadsheet", "word": "a Word document", "ppt": "a presentation"}


def refuse_binary(head: bytes) -> None:
    """Raise InvalidRequest if the first bytes are those of a format that is not read."""
    for magic, what in BINARY.items():
        if head.startswith(magic):
            raise refuse("unsupported_format", f"This is {what}. {ACCEPTED}")


def refuse_text(beginning: str) -> None:
    """Raise InvalidRequest if a text begins like a page, a pointer or a document."""
    signs = beginning.lstrip("\ufeff \t\r\n")
    for pattern, sentence in TEXTS:
        if pattern.match(signs):
            raise refuse("unsupported_format", sentence)


def office_kind(names: Collection[str]) -> str | None:
    """Return which office document a zip with these members is; None where it is none."""
    if "[Content_Types].xml" in names:
        folders = {name.partition("/")[0] for name in names}
        return next((what for folder, what in OFFICE.items() if folder in folders), "an office document")
    return "an OpenDocument file" if {"mimetype", "content.xml"} <= set(names) else None


def is_workbook(names: Collection[str]) -> bool:
    """Return whether a zip with these members is an Excel workbook that can be read, as .xlsb cannot."""
    return office_kind(names) == "a spreadsheet" and "xl/workbook.xml" in names


def refuse_office(names: Collection[str]) -> None:
    """Raise InvalidRequest if a zip with these members is an office document."""
    if kind := office_kind(names):
        remedy = "Save its sheet as CSV" if kind == "a spreadsheet" else "Save its table as CSV, or its text as rows"
        raise refuse("unsupported_format", f"This is {kind}. {remedy}, and upload that.")
