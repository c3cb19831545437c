"""Streaming readers of JSON rows: one object a line, or one list of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from service.datasets import rows
from service.datasets.rows import MAX_ROW_BYTES, MEBIBYTE, NumberedRow, Problem, refuse
from service.datasets.text_file import TextFile

LONGEST_TOKEN = 16  # characters of a value that may be cut other than a text or a number, such as "\\ud83d\\ude00"
EXAMPLE = '{"text": "...", "label": 1}'


def is_array(file: TextFile) -> bool:
    """Whether the file is one list."""
    for chunk in file.chunks():
        if chunk.strip():
            return chunk.lstrip().startswith("[")
    return False


def read_json_lines(file: TextFile) -> Iterator[NumberedRow | Problem]:
    """Yield one row per line, blank lines excepted.

    Raises:
        InvalidRequest: the file is empty, or holds one object over many lines.
        TooLarge: the file has too many rows.
    """
    if file.line_ends > rows.MAX_ROWS:  # of which some may be blank
        rows.check_count_ahead(line for line in file.lines() if line.strip())
    number = 0
    for line, text in enumerate(file.lines(), start=1):
        if text.strip():
            number += 1
            yield _row(text, number, line)
    if number == 0:
        raise refuse("empty_file", f"The file is empty. Upload one JSON object a line, such as {EXAMPLE}.")


def read_json_array(file: TextFile) -> Iterator[NumberedRow | Problem]:
    """Yield the objects of one list, holding one in memory at a time.

    Raises:
        InvalidRequest: the list is not valid JSON; after a syntax error, row boundaries are unknown.
    """
    scanner = Scanner(file.chunks())
    number = 0
    for number, (line, value) in enumerate(scanner.entries(), start=1):
        yield checked(value, number, line)
    scanner.end()
    if number == 0:
        raise refuse("empty_file", f"The list is empty. Upload a list of JSON objects, such as [{EXAMPLE}].")


def _row(text: str, number: int, line: int) -> NumberedRow | Problem:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return Problem(number, line, None, f"is not valid JSON: {_reason(error)}")
    return checked(value, number, line)


def checked(value: Any, number: int, line: int | None) -> NumberedRow | Problem:
    """Return a row, or what is wrong with a value that is no object."""
    if not isinstance(value, dict):
        return Problem(number, line, None, f"is not a JSON object such as {EXAMPLE}")
    return NumberedRow(number, line, value)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value; use null")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:100]!r} is repeated")
            seen.add(name)
    return values


_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique_names)


def _is_cut(error: ValueError, length: int) -> bool:
    """Return whether more text may mend the fault of a value: it lies at the end of the text, or a string is open."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos > length - LONGEST_TOKEN or error.msg.startswith("Unterminated string")


class Scanner:
    """Window over the text that grows until its first value is complete.

    Attributes:
        line: of the text, at which the window begins.
    """

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks, self._text, self._at = chunks, "", 0
        self.line = 1

    def at_end(self) -> bool:
        self._skip_space()
        return self._at == len(self._text)

    def looks_at(self, sign: str) -> bool:
        self._skip_space()
        return self._text.startswith(sign, self._at)

    def take(self, sign: str) -> None:
        if not self.looks_at(sign):
            raise self._refusal(f"expected '{sign}'")
        self._at += 1

    def end(self) -> None:
        if not self.at_end():
            raise self._refusal("text follows the end of the list")

    def entries(self) -> Iterator[tuple[int, Any]]:
        """Yield line and value of each entry of a list, holding one in memory at a time."""
        self.take("[")
        sign = self._take_one_of("]") if self.looks_at("]") else ","
        number = 0
        while sign == ",":
            number += 1
            self._skip_space()
            line = self.line
            yield line, self.value(number)
            sign = self._take_one_of(",]")

    def names(self) -> Iterator[str]:
        """Yield the names of an object; the caller takes the value behind each."""
        self.take("{")
        sign = self._take_one_of("}") if self.looks_at("}") else ","
        number = 0
        while sign == ",":
            number += 1
            if not self.looks_at('"'):
                raise self._refusal("a name must be in double quotes")
            name: str = self.value(number)
            self.take(":")
            yield name
            sign = self._take_one_of(",}")

    def _take_one_of(self, signs: str) -> str:
        self._skip_space()
        sign = self._text[self._at : self._at + 1]
        if not sign or sign not in signs:
            raise self._refusal(f"expected '{signs[0]}'")
        self._at += 1
        return sign

    def value(self, number: int) -> Any:
        self._skip_space()
        chunks = 1  # doubled on each growth, so that a long value costs its length and not its square
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self._refusal(f"row {number} is nested too deeply") from error
            except ValueError as error:
                is_cut = _is_cut(error, len(self._text))
                if is_cut and len(self._text) - self._at > MAX_ROW_BYTES:
                    raise refuse(
                        "row_too_long", f"Row {number} is longer than {MAX_ROW_BYTES // MEBIBYTE} MiB. Split its text."
                    ) from error
                if not is_cut or not self._grow(chunks):
                    raise self._refusal(f"row {number}: {_reason(error)}") from error
                chunks *= 2
                continue
            # A number at the window's end may continue beyond it, as 1 does if it is 1.5 that is cut behind the point.
            if end < len(self._text) - LONGEST_TOKEN or not self._grow(1):
                self.line += self._text.count("\n", self._at, end)
                self._at = end
                return value

    def _skip_space(self) -> None:
        if self._text[self._at : self._at + 1] > " ":  # most values stand close together
            return
        while True:
            end = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self.line += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text) or not self._grow(1):
                return

    def _grow(self, chunks: int) -> bool:
        more = [chunk for _, chunk in zip(range(chunks), self._chunks, strict=False)]
        if more:
            self._text, self._at = self._text[self._at :] + "".join(more), 0
        return bool(more)

    def _refusal(self, reason: str) -> Exception:
        return refuse(
            "invalid_json", f"The list is not valid JSON at line {self.line}: {reason}. Repair it, or upload JSONL."
        )
