"""Rows of one JSON object: its lists as columns, as pandas writes them, or the list that it holds.

What the object holds is known at its end only, so it is read twice: once to see its shape, once for the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import xxhash

from service.datasets.json_members import NamedValue, members, side_by_side
from service.datasets.json_rows import Scanner, checked
from service.datasets.rows import MAX_COLUMNS, Notice, NumberedRow, Problem, counted, refuse
from service.datasets.text_file import TextFile
from service.shared.errors import InvalidRequest, quoted_names

# Usual names of a list of rows beside facts about it.
LISTS = frozenset(("data", "rows", "examples", "items", "records", "results", "samples", "instances"))
SHOWN = 5  # names in a message
LONGEST_NAME = 10_000  # characters of what may be a column's name; one over 200 is refused as such

Rows = Callable[[Iterator[NamedValue]], Iterator[Any]]


@dataclass
class NamedShape:
    """What a list or an object of the document holds, without its entries.

    Attributes:
        are_objects: whether all entries are objects, and no turns of a chat, which is a cell.
        are_of_viewer: whether all entries have the form of a data set viewer, which puts each row under `row`.
        has_turn: whether the first entry is a turn of a chat.
        width: number of cells of each entry, where all are lists of one length; -1 where they are not.
        texts: the entries, where they may be names of columns.
        is_index: whether all keys are numbers, as those of pandas' index.
    """

    name: str
    kind: str
    count: int = 0
    are_objects: bool = True
    are_of_viewer: bool = True
    has_turn: bool = False
    width: int | None = None
    texts: list[str] | None = field(default_factory=list)
    is_index: bool = True
    _keys: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    def add(self, key: str, value: Any) -> None:
        if self.kind == "object":
            self.is_index &= key.isdecimal()
            self._keys.update(f"{key}\0".encode(errors="surrogatepass"))
        elif not self._is_plain:
            self._look_at(value)
        self.count += 1

    @property
    def _is_plain(self) -> bool:
        """Whether the list has cells only, so that none of its other entries changes what it is."""
        return not self.are_objects and self.width == -1 and self.texts is None

    def _look_at(self, value: Any) -> None:
        is_object = isinstance(value, dict)
        is_turn = is_object and _is_turn(value)
        self.has_turn |= is_turn and not self.count
        self.are_objects &= is_object and not is_turn
        self.are_of_viewer &= is_object and isinstance(value.get("row"), dict) and "row_idx" in value
        width = len(value) if isinstance(value, list) else -1
        self.width = width if self.width in (None, width) else -1
        if self.texts is not None:
            self._add_name(value)

    def _add_name(self, value: Any) -> None:
        if self.texts is not None and isinstance(value, str) and len(value) <= LONGEST_NAME:
            self.texts = [*self.texts, value] if self.count <= MAX_COLUMNS else None
        else:
            self.texts = None

    @property
    def form(self) -> tuple[str, int, bytes]:
        """Return what members must have in common to be columns, or rows, of one table."""
        return self.kind, self.count, self._keys.digest()


@dataclass
class DocumentSurvey:
    """The shapes of a document's members.

    Attributes:
        names: the first ones.
        shapes: of lists and objects, by name; of those like the first, only the first MAX_COLUMNS.
        count: of all members.
        are_alike: whether each could be a column, or a row, of the same table.
    """

    names: list[str] = field(default_factory=list)
    shapes: dict[str, NamedShape] = field(default_factory=dict)
    count: int = 0
    are_alike: bool = True

    def add(self, member: NamedValue) -> None:
        self.count += 1
        self.names += [member.name] * (len(self.names) < SHOWN)
        if member.kind == "value":
            self.are_alike = False
            return
        shape = NamedShape(member.name, member.kind)
        for key, value in member.entries:
            shape.add(key, value)
        first = next(iter(self.shapes.values()), shape)
        is_alike = shape.form == first.form and shape.count > 0
        self.are_alike &= is_alike
        if member.name in self.shapes:
            raise refuse("invalid_json", f"The name {member.name[:100]!r} is repeated.")
        if len(self.shapes) < MAX_COLUMNS or not is_alike:
            self.shapes[member.name] = shape


def read_document(file: TextFile, notices: list[Notice], *, is_lines: bool) -> Iterator[NumberedRow | Problem] | None:
    """Return the rows of one object, or of objects that each take several lines; None where each line is a row.

    Args:
        is_lines: whether the file's name is one of JSON lines, so that one object on one line is a row.

    Raises:
        InvalidRequest: the object holds no rows, or several tables.
    """
    scanner, survey = Scanner(file.chunks()), DocumentSurvey()
    scanner.at_end()  # skips blank lines
    first = scanner.line
    try:
        for member in members(scanner):
            survey.add(member)
    except InvalidRequest:
        return None
    is_one_line = scanner.line == first
    if not scanner.at_end():
        return None if is_one_line else _objects(file)
    if is_one_line and is_lines:
        return None
    found = rows_of(survey)
    if found is not None:
        rows, count, how = found
        notices.append(Notice("json_document", None, f"The file is one JSON object: {how}, {counted(count)}."))
        return _numbered(rows(members(Scanner(file.chunks()))))
    if is_one_line:
        return None
    named = ", ".join(map(repr, survey.names)) or "none"
    raise refuse(
        "unsupported_format",
        f"This is one JSON object that holds no rows; its names are {named}. Write one object a line, a list of "
        'objects, {"data": [objects]}, or lists of one length as columns.',
    )


def _objects(file: TextFile) -> Iterator[NumberedRow | Problem]:
    scanner = Scanner(file.chunks())
    number = 0
    while not scanner.at_end():
        number += 1
        line = scanner.line
        yield checked(scanner.value(number), number, line)


def _numbered(rows: Iterator[Any]) -> Iterator[NumberedRow | Problem]:
    try:
        for number, row in enumerate(rows, start=1):
            yield checked(row, number, None)
    except RecursionError as error:
        raise refuse("invalid_json", "The cells are nested too deeply; write fewer levels.") from error


def rows_of(survey: DocumentSurvey) -> tuple[Rows, int, str] | None:
    """Return how the rows that an object holds are read, their number, and a description; None for a row itself."""
    for find in (_split, _listed, _columns, _indexed):
        if (found := find(survey)) is not None:
            return found
    return None


def _split(survey: DocumentSurvey) -> tuple[Rows, int, str] | None:
    """Find pandas' `orient="split"`: names of columns beside lists of cells."""
    columns, data = survey.shapes.get("columns"), survey.shapes.get("data")
    if columns is None or columns.kind != "list" or columns.texts is None or data is None or data.kind != "list":
        return None
    names = columns.texts
    if data.width not in (None, len(names)):
        return None
    return (
        lambda of: (dict(zip(names, cells, strict=True)) for cells in _entries(of, "data")),
        data.count,
        ("'columns' names those of 'data'"),
    )


def _listed(survey: DocumentSurvey) -> tuple[Rows, int, str] | None:
    """Find a list of objects under a usual name, as in `{"data": [...]}` and in answers of a data set viewer."""
    lists = [shape for shape in survey.shapes.values() if shape.kind == "list" and shape.count and shape.are_objects]
    usual = [shape for shape in lists if shape.name in LISTS]
    if not lists:
        return None
    shape, *others = usual or lists
    name = shape.name
    if others:
        named = quoted_names([name, *(other.name for other in others)])
        raise refuse(
            "several_tables",
            f"This is one JSON object with several lists of rows: {named}. Write each into a file of its own.",
        )
    if shape.are_of_viewer:
        return lambda of: (row["row"] for row in _entries(of, name)), shape.count, f"its '{name}' are the rows"
    return lambda of: _entries(of, name), shape.count, f"its '{name}' are the rows"


def _columns(survey: DocumentSurvey) -> tuple[Rows, int, str] | None:
    shapes = list(survey.shapes.values())
    if not shapes or not survey.are_alike or shapes[0].kind != "list" or any(shape.has_turn for shape in shapes):
        return None
    return side_by_side, shapes[0].count, "its lists are the columns"


def _indexed(survey: DocumentSurvey) -> tuple[Rows, int, str] | None:
    """Find pandas' own form: columns that are objects of one index, or rows of one set of columns by their index."""
    first = next(iter(survey.shapes.values()), None)
    if first is None or not survey.are_alike or first.kind != "object":
        return None
    if first.is_index:
        return side_by_side, first.count, "its objects are the columns"
    if survey.count > 1:
        return lambda of: map(_object, of), survey.count, "its objects are the rows"
    return None


def _object(member: NamedValue) -> dict[str, Any]:
    pairs = list(member.entries)
    values = dict(pairs)
    if len(values) < len(pairs):
        raise refuse("invalid_json", f"The row {member.name[:100]!r} has a name twice. Give every column its own name.")
    return values


def _entries(of: Iterator[NamedValue], name: str) -> Iterator[Any]:
    for member in of:
        if member.name == name:
            yield from (value for _, value in member.entries)


def _is_turn(entry: dict[str, Any]) -> bool:
    return entry.keys() >= {"role", "content"} or entry.keys() >= {"from", "value"}
