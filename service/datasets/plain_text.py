"""Reader of plain text and Markdown: a row for each paragraph, section or line, whichever the file is made of."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter

from adamss_core.spec.suggestion import TEXTS
from service.datasets.rows import MAX_ROW_BYTES, Notice, NumberedRow, counted, refuse
from service.datasets.tabular import delimiter_of
from service.datasets.text_file import TextFile

TEXT = "text"
SUFFIXES = (".txt", ".text", ".md", ".markdown")
MARKDOWN = SUFFIXES[2:]
HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
FENCE = re.compile(r" {0,3}(```|~~~)")
LOOKED_AT = 50  # lines in which a table is looked for
LONGEST_NAME = 40  # characters of a name in the header of a table
LONGEST_PARAGRAPH = 20  # lines, in the mean, beyond which blank lines are there by chance
TABLE_SHARE = 0.9  # of the lines that have as many cells as the first


def is_table(file: TextFile) -> bool:
    """Return whether a text file holds a table: short names above, and as many cells in nearly all lines."""
    lines = [line for line in islice(file.lines(), LOOKED_AT) if line.strip()]
    if len(lines) < 2:
        return False
    sign = delimiter_of(lines[0])
    try:
        cells = list(csv.reader(lines, delimiter=sign))
    except csv.Error:
        return False
    width = len(cells[0])
    named = width > 1 and all(0 < len(name.strip()) <= LONGEST_NAME and name[-1] not in ".!?" for name in cells[0])
    return named and sum(len(row) == width for row in cells) >= TABLE_SHARE * len(cells)


def read_text(file: TextFile, suffix: str, notices: list[Notice]) -> Iterator[NumberedRow]:
    """Yield rows with one column, `text`; nothing of the file is lost but the blank lines between them.

    Raises:
        InvalidRequest: the file is empty.
    """
    pieces, what, name = _pieces(file, suffix)
    number = 0
    for line, text in pieces:
        number += 1
        yield NumberedRow(number, line, {name or TEXT: text})
    if not number:
        raise refuse("empty_file", "The file is empty. Upload one with a text in it.")
    where = f"in column '{TEXT}'" if name is None else f"in column '{name}', as the first line names it"
    notices.append(
        Notice("plain_text", name or TEXT, f"The file is read as plain text: {what}, {counted(number)} {where}.")
    )


def _pieces(file: TextFile, suffix: str) -> tuple[Iterator[tuple[int, str]], str, str | None]:
    """Return the texts, each with the line at which it ends, what they are, and the name that the first line is."""
    is_markdown = suffix in MARKDOWN
    if is_markdown and any(section for section, _, _ in _sections(file)):
        return _joined(_sections(file)), "a row for each section that a heading begins", None
    if _has_paragraphs(file, is_markdown):
        return _joined(_paragraphs(file, is_markdown)), "a row for each paragraph, as blank lines separate them", None
    lines = _joined((line, line, text) for _, line, text in _paragraphs(file))
    first = next(_joined((line, line, text) for _, line, text in _paragraphs(file)), (0, ""))[1].strip()
    if first in TEXTS:
        return islice(lines, 1, None), "a row for each line", first
    return lines, "a row for each line", None


def _joined(lines: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, str]]:
    """Join the lines of one number, which stands first; leave out what is blank."""
    for _, block in groupby(lines, key=itemgetter(0)):
        end, size, parts = 0, 0, list[str]()
        for _, line, part in block:
            if size <= MAX_ROW_BYTES:  # a longer text is left out as a whole
                parts.append(part)
            end, size = line, size + len(part)
        if text := "".join(parts).strip("\r\n"):
            yield end, text


def _sections(file: TextFile) -> Iterator[tuple[int, int, str]]:
    """Yield section, line number and line; 0 stands before the first heading. Code in fences has no headings."""
    section, fence = 0, ""
    for number, line in enumerate(file.lines(), start=1):
        if found := FENCE.match(line):
            fence = "" if fence == found[1] else fence or found[1]
        elif not fence and HEADING.match(line):
            section += 1
        yield section, number, line


def _paragraphs(file: TextFile, has_code: bool = False) -> Iterator[tuple[int, int, str]]:
    """Yield paragraph, line number and line, blank lines excepted.

    Args:
        has_code: whether blank lines between fences belong to the code there.
    """
    paragraph, fence = 0, ""
    for number, line in enumerate(file.lines(), start=1):
        if has_code and (found := FENCE.match(line)):
            fence = "" if fence == found[1] else fence or found[1]
        if line.strip() or fence:
            yield paragraph, number, line
        else:
            paragraph += 1


def _has_paragraphs(file: TextFile, has_code: bool) -> bool:
    """Return whether blank lines divide the text, rather than stand among its lines by chance."""
    lines = paragraphs = last = 0
    for number, _, _ in _paragraphs(file, has_code):
        lines += 1
        paragraphs += lines == 1 or number != last
        last = number
    return paragraphs > 1 and lines <= paragraphs * LONGEST_PARAGRAPH
