"""Spreadsheets for tests, as openpyxl writes them, and with parts replaced by what it would never write."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from openpyxl import Workbook

SHEET = "xl/worksheets/sheet1.xml"
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)


def workbook_of(sheets: Mapping[str, Sequence[Sequence[Any]]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(book)


def saved(book: Any) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def sheet_xml(rows: str, dimension: str = "A1:B2", declaration: str = "") -> bytes:
    return (
        f'{declaration}<worksheet xmlns="{NAMESPACE}"><dimension ref="{dimension}"/>'
        f"<sheetData>{rows}</sheetData></worksheet>"
    ).encode()


def with_parts(parts: Mapping[str, bytes]) -> bytes:
    """Replace members of a workbook."""
    source = zipfile.ZipFile(io.BytesIO(workbook_of({"a": TABLE})))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys([*source.namelist(), *parts]):
            archive.writestr(name, parts[name] if name in parts else source.read(name))
    return buffer.getvalue()


def with_shared_texts(texts: str, declaration: str = "") -> bytes:
    """Build a workbook as Excel writes it, whose cells name texts of one table."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    types = zipfile.ZipFile(io.BytesIO(workbook_of({"a": TABLE}))).read("[Content_Types].xml").decode()
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>{n - 1}</v></c></row>' for n in (1, 2, 3))
    return with_parts(
        {
            "[Content_Types].xml": types.replace("</Types>", override).encode(),
            "xl/sharedStrings.xml": f'{declaration}<sst xmlns="{NAMESPACE}">{texts}</sst>'.encode(),
            SHEET: sheet_xml(cells),
        }
    )


TABLE: list[list[Any]] = [["text", "label"], *[[f"text {n}", n % 2] for n in range(20)]]
