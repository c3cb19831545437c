"""Labels of passages of a text, as annotation tools write them: they become words with a tag each."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, Self, TypeGuard

from adamss_core.spec.suggestion import TEXTS
from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.rows import MAX_ENTRIES, Notice, Row, counted

STARTS, ENDS = ("start", "start_offset", "begin"), ("end", "end_offset", "stop")
LABELS = ("label", "labels", "type", "entity", "tag", "entity_group", "class")
SHOWN = 5  # rows that a notice names


class Span(NamedTuple):
    """A labelled passage: signs of the text from `start` up to `end`."""

    start: int
    end: int
    label: str


class Spans(Dialect):
    """Words begin and end at white space, at punctuation, and where a span does; Prodigy's own words come first."""

    def __init__(self, text: str, spans: str, tokens: str | None, names: tuple[str, str]) -> None:
        """Read one column.

        Args:
            tokens: column with the positions of the words, if the file has them.
            names: of the columns for words and tags.
        """
        self._text, self._spans, self._tokens, self._names = text, spans, tokens, names
        self._rows = self._cut = self._overlapping = 0
        self._cut_rows: list[int] = []
        self._overlapping_rows: list[int] = []

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        names = dict.fromkeys(name for values in rows for name in values)
        columns = [name for name in names if _holds([values.get(name) for values in rows], is_span)]
        texts = [name for name in names if all(isinstance(values.get(name), str) for values in rows)]
        tokens = next((name for name in columns if name.lower() in ("tokens", "words")), None)
        spans = next((name for name in columns if name != tokens and _have_labels(rows, name)), None)
        usual = [name for name in ("text", *TEXTS, "data") if name in texts]
        if spans is None or not texts:
            return None
        text = usual[0] if usual else max(texts, key=lambda name: sum(len(values[name]) for values in rows))
        taken = names.keys() - {spans, tokens}
        return cls(
            text,
            spans,
            tokens,
            ("tokens" if "tokens" not in taken else "words_of_text", "tags" if "tags" not in taken else "ner_tags"),
        )

    def read(self, values: Row) -> Row:
        text, cell = values.get(self._text), values.get(self._spans)
        self._rows += 1
        if not isinstance(text, str) or not isinstance(cell, list | None):
            raise Misread("has no text with a list of spans, as other rows have", self._spans)
        if len(cell or ()) > MAX_ENTRIES:
            raise Misread(f"has {len(cell or ()):,} spans; at most {MAX_ENTRIES:,} are accepted", self._spans)
        spans = self._without_overlaps([self._span(entry, text) for entry in cell or []])
        borders = _given(values.get(self._tokens), text) if self._tokens else _words(text)
        words, tags = self._tagged(text, borders, spans)
        if len(words) > MAX_ENTRIES:
            raise Misread(f"has a text of more than {MAX_ENTRIES:,} words; split it", self._text)
        kept = {name: value for name, value in values.items() if name not in (self._spans, self._tokens)}
        return {**kept, self._names[0]: words, self._names[1]: tags}

    def notices(self) -> Iterator[Notice]:
        yield Notice(
            "spans_to_words",
            self._spans,
            f"The spans of column '{self._spans}' label passages of '{self._text}'. Its words, which end at white "
            f"space and punctuation, are in '{self._names[0]}', and as many BIO tags in '{self._names[1]}'.",
        )
        if self._cut:
            yield Notice(
                "spans_cut_words",
                self._spans,
                f"Spans of '{self._spans}' begin or end within a word ({_counted(self._cut, self._cut_rows)}): the "
                "word is two words there. Where the spans are wrong, mend them in the tool that made them.",
            )
        if self._overlapping:
            yield Notice(
                "spans_overlap",
                self._spans,
                f"Spans of '{self._spans}' overlap ({_counted(self._overlapping, self._overlapping_rows)}), but a word "
                "has one tag: of each such group the longest is kept, and the others are left out.",
            )

    def _span(self, entry: Any, text: str) -> Span:
        span = _read_span(entry)
        if span is None or not span.label:
            raise Misread(
                'has a span without start, end and one label; write {"start": 0, "end": 5, "label": "PER"}', self._spans
            )
        if not 0 <= span.start < span.end <= len(text):
            raise Misread(
                f"has a span from {span.start} to {span.end}, outside its text of {len(text):,} signs or empty; count "
                "characters, not bytes",
                self._spans,
            )
        return span

    def _without_overlaps(self, spans: list[Span]) -> list[Span]:
        kept: list[Span] = []
        for span in sorted(set(spans), key=lambda span: (span.start - span.end, span.start, span.label)):
            place = bisect(kept, span)
            is_free = place == 0 or kept[place - 1].end <= span.start
            if is_free and (place == len(kept) or span.end <= kept[place].start):
                kept.insert(place, span)
        if len(kept) < len(set(spans)):
            self._overlapping += 1
            self._overlapping_rows += [self._rows] * (len(self._overlapping_rows) < SHOWN)
        return kept

    def _tagged(self, text: str, borders: list[tuple[int, int]], spans: list[Span]) -> tuple[list[str], list[str]]:
        words, tags, is_cut, before = list[str](), list[str](), False, None
        left = list(reversed(spans))
        for begin, end in borders:
            here = begin
            while here < end:
                while left and left[-1].end <= here:
                    left.pop()
                span = left[-1] if left and left[-1].start < end else None
                within = span if span is not None and span.start <= here else None
                stop = end if span is None else min(end, span.start if within is None else span.end)
                is_cut |= stop < end
                words.append(text[here:stop])
                tags.append("O" if within is None else f"{'I' if within is before else 'B'}-{within.label}")
                before, here = within, stop
        if is_cut:
            self._cut += 1
            self._cut_rows += [self._rows] * (len(self._cut_rows) < SHOWN)
        return words, tags


def _read_span(entry: Any) -> Span | None:
    """Return a span that is written as an object or as [start, end, label]; None for anything else."""
    if isinstance(entry, list):
        start, end, label = entry if len(entry) == 3 else (None, None, None)
    elif isinstance(entry, dict):
        start, end = (next((entry[name] for name in names if name in entry), None) for names in (STARTS, ENDS))
        label = next((entry[name] for name in LABELS if name in entry), None)
    else:
        return None
    if isinstance(label, list):
        label = label[0] if len(label) == 1 else None
    if not _is_position(start) or not _is_position(end) or not isinstance(label, str):
        return None
    return Span(start, end, label.strip())


def _is_position(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_span(entry: Any) -> bool:
    """Return whether an entry has a start and an end, with a label or, as a word, without."""
    if isinstance(entry, list):
        return _read_span(entry) is not None
    return isinstance(entry, dict) and all(any(name in entry for name in names) for names in (STARTS, ENDS))


def _holds(cells: list[Any], is_entry: Callable[[Any], bool]) -> bool:
    lists = [cell for cell in cells if cell is not None and cell != ""]
    return all(isinstance(cell, list) for cell in lists) and any(lists) and all(map(is_entry, chain(*lists)))


def _have_labels(rows: Sequence[Row], name: str) -> bool:
    return any(_read_span(entry) is not None for values in rows for entry in values.get(name) or [])


def _given(cell: Any, text: str) -> list[tuple[int, int]]:
    """Return the borders of the words that the file gives; raises Misread."""
    borders = []
    before = 0
    for entry in cell if isinstance(cell, list) else [None]:
        start, end = (entry.get("start"), entry.get("end")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(start, int) and isinstance(end, int) and before <= start < end <= len(text)):
            raise Misread("has words that do not lie one after another in its text; leave the column out", "tokens")
        borders.append((start, end))
        before = end
    return [border for border in borders if text[slice(*border)].strip()]


def _words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in islice(_pattern().finditer(text), MAX_ENTRIES + 1)]


@cache
def _pattern() -> re.Pattern[str]:
    """Return the pattern of a word: letters, digits and their marks (vowels of Hindi), or one other sign."""
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code))[0] == "M")
    return re.compile(rf"[\w{marks}]+|[^\w\s]")


def _counted(rows: int, numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers))
    return f"{counted(rows)}: {shown}{', …' * (rows > len(numbers))}"
