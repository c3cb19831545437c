"""Streaming reader of CoNLL files: one word and its tags a line, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from service.datasets import rows
from service.datasets.iob import ANY_IOB, to_bio
from service.datasets.rows import MAX_COLUMNS, MAX_ROW_BYTES, MEBIBYTE, Notice, NumberedRow, Problem, counted, refuse
from service.datasets.text_file import TextFile

SUFFIXES = (".conll", ".conllu", ".conll2003", ".bio", ".iob", ".iob2")
DOCUMENT = "-DOCSTART-"
UNIVERSAL = ("form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")  # of CoNLL-U, after the number
WORD_NAMES = frozenset({"word", "words", "token", "tokens", "form"})  # a first line with one of them is a header
SAMPLE_LINES = 200
SAMPLE_SIGNS = 64 * 1024
COMMENT = re.compile(r"#\s*(\w+\s*=|id\b|sent_id\b|text\b|newdoc\b|newpar\b)")
NUMBER = re.compile(r"\d+")
NO_WORD = re.compile(r"\d+[-.]\d+")  # of CoNLL-U: several words as one, and words that are not in the text


@dataclass(frozen=True)
class Layout:
    """Describe how the lines of a file are written.

    Attributes:
        separator: None for blanks.
        names: of the columns that are kept; a word's number is not.
        has_header: whether the first line names the columns.
    """

    separator: str | None
    names: tuple[str, ...]
    is_universal: bool = False
    has_header: bool = False

    @property
    def width(self) -> int:
        return len(self.names) + self.is_universal

    def cells(self, line: str) -> list[str]:
        return _cells(line, self.separator)

    def is_comment(self, line: str) -> bool:
        return line.startswith("#") and (
            self.is_universal or COMMENT.match(line) is not None or len(self.cells(line)) != self.width
        )


@dataclass
class _Sentence:
    """The lines since the last border.

    Attributes:
        fault: of the first line that cannot be used.
    """

    columns: list[list[str]]
    size: int = 0
    fault: str | None = None
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.fault is None and not self.columns[0]


def is_conll(file: TextFile, is_named: bool) -> bool:
    """Return whether a file is CoNLL by its content.

    Args:
        is_named: whether the file's name says that it is a table; it is CoNLL then only if its tags or borders say so.
    """
    sample = _sample(file)
    if any(line.split()[:1] == [DOCUMENT] for line in sample):
        return True
    words = [line for line in sample if line.strip() and not COMMENT.match(line)]
    separator = "\t" if words and "\t" in words[0] else None
    cells = [_cells(line, separator) for line in words]
    if len(cells) > 1 and cells[0][0].lower() in WORD_NAMES and "" in sample:
        cells = cells[1:]  # a header
    if not cells or len(cells[0]) < 2 or any(len(line) != len(cells[0]) for line in cells):
        return False
    if _is_universal(cells[0]) or all(ANY_IOB.fullmatch(line[-1]) for line in cells):
        return True
    return not is_named and sample.count("") > 1 and len({line[-1] for line in cells}) <= len(cells) / 2


def read_conll(file: TextFile, notices: list[Notice]) -> Iterator[NumberedRow | Problem]:
    """Yield a row for each sentence: a list of its words, and a list for each further column.

    Raises:
        InvalidRequest: the file has no words with tags.
        TooLarge: the file has too many sentences.
    """
    layout = _layout(_sample(file))
    return _Sentences(layout, notices).read(file.lines())


class _Sentences:
    """Sentences of one file, and what was rewritten in them."""

    def __init__(self, layout: Layout, notices: list[Notice]) -> None:
        self._layout, self._notices = layout, notices
        self._number = self._converted = self._no_words = 0

    def read(self, lines: Iterable[str]) -> Iterator[NumberedRow | Problem]:
        sentence, number = self._begin(), 0
        must_skip = self._layout.has_header
        for number, raw in enumerate(lines, start=1):
            line = raw.strip("\ufeff\r\n")
            if not line.strip():
                yield from self._end(sentence, number)
                sentence = self._begin()
            elif must_skip:
                must_skip = False
            else:
                self._add(sentence, line)
        yield from self._end(sentence, number)
        self._notices += self._rewritten()

    def _begin(self) -> _Sentence:
        return _Sentence([[] for _ in self._layout.names])

    def _add(self, sentence: _Sentence, line: str) -> None:
        layout = self._layout
        if line.split(maxsplit=1)[0] == DOCUMENT or sentence.fault:
            return
        if not sentence.columns[0] and layout.is_comment(line):
            name, sign, text = line[1:].partition("=")
            if layout.is_universal and sign and name.strip() in ("text", "sent_id"):
                sentence.texts[name.strip()] = text.strip()
            return
        cells = layout.cells(line)
        if len(cells) != layout.width:
            columns = counted(len(cells), "column")
            sentence.fault = f"has {columns} where the first line has {layout.width}: {line[:60]!r}"
        elif layout.is_universal and NO_WORD.fullmatch(cells[0]):
            self._no_words += 1
        else:
            self._append(sentence, cells[layout.is_universal :])

    def _append(self, sentence: _Sentence, cells: list[str]) -> None:
        sentence.size += sum(map(len, cells))
        if len(sentence.columns[0]) == rows.MAX_ENTRIES or sentence.size > MAX_ROW_BYTES:
            sentence.fault = (
                f"is longer than {rows.MAX_ENTRIES:,} words or {MAX_ROW_BYTES // MEBIBYTE} MiB; put a blank line after "
                "each sentence"
            )
            sentence.columns = [[]]
        elif not all(cells):
            sentence.fault = f"has an empty column in the line of {cells[0][:60]!r}; write O for a word without a tag"
        else:
            for column, cell in zip(sentence.columns, cells, strict=True):
                column.append(cell)

    def _end(self, sentence: _Sentence, line: int) -> Iterator[NumberedRow | Problem]:
        if sentence.is_empty:
            return
        self._number += 1
        if sentence.fault:
            yield Problem(self._number, line, None, sentence.fault)
            return
        written = [to_bio(column) for column in sentence.columns[1:]]
        self._converted += any(is_other for _, is_other in written)
        columns = [sentence.columns[0], *(tags for tags, _ in written)]
        yield NumberedRow(self._number, line, {**sentence.texts, **dict(zip(self._layout.names, columns, strict=True))})

    def _rewritten(self) -> Iterator[Notice]:
        if self._converted:
            yield iob1_notice(self._converted)
        if self._no_words:
            yield Notice(
                "lines_without_word",
                None,
                f"{counted(self._no_words, 'line')} of CoNLL-U are left out: several words written "
                "as one (1-2), or words that are not in the text (1.1).",
            )


def iob1_notice(sentences: int) -> Notice:
    return Notice(
        "iob1_converted",
        None,
        f"In {counted(sentences, 'sentence')} an entity begins with I- (IOB1): its first tag is now B-.",
    )


def _sample(file: TextFile) -> list[str]:
    """Return the first lines, all of them complete."""
    beginning = file.beginning(SAMPLE_SIGNS)
    lines = [line.strip("\ufeff") for line in re.split(r"\r\n|\n|\r", beginning)]
    return [line if line.strip() else "" for line in islice(lines[:-1] if len(lines) > 1 else lines, SAMPLE_LINES)]


def _layout(sample: list[str]) -> Layout:
    words = [line for line in sample if line and not COMMENT.match(line) and line.split()[0] != DOCUMENT]
    if not words:
        raise refuse("empty_file", "The file has no words. Upload one word and its tag a line.")
    first = next((line for line in words if not line.startswith("#")), words[0])
    separator = "\t" if "\t" in first else None
    cells = _cells(first, separator)
    if _is_universal(cells):
        return Layout(separator, UNIVERSAL, is_universal=True)
    if not 2 <= len(cells) <= MAX_COLUMNS:
        raise refuse(
            "no_tags",
            f"The first line of words has {counted(len(cells), 'column')}, but CoNLL has a word and its "
            "tags, separated by a tab or a blank. Add a column with the tags.",
        )
    if cells[0].lower() in WORD_NAMES and len(set(cells)) == len(cells) and not ANY_IOB.fullmatch(cells[-1]):
        return Layout(separator, tuple(cells), has_header=True)
    between = (f"column_{place}" for place in range(2, len(cells)))
    return Layout(separator, ("tokens", *between, "tags"))


def _cells(line: str, separator: str | None) -> list[str]:
    return line.split() if separator is None else [cell.strip() for cell in line.rstrip("\t").split(separator)]


def _is_universal(cells: list[str]) -> bool:
    return len(cells) == len(UNIVERSAL) + 1 and bool(NUMBER.match(cells[0]))
