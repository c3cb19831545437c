"""Values of JSON are read wherever the text is cut, and a fault is named however much text follows it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from service.datasets.formats import open_rows
from service.datasets.image_store import ImageStore
from service.datasets.json_members import members
from service.datasets.json_rows import Scanner
from service.shared.errors import InvalidRequest

VALUES = [1.5, -2e-7, 10**30, 'a"\\\u00e9\U0001f600', True, None, [], {}, {"a": [{"b": "}"}]}, "", -0.0]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_read_wherever_it_is_cut(indent: int | None) -> None:
    text = json.dumps(VALUES, indent=indent)
    for place in range(len(text)):
        scanner = Scanner(iter([text[:place], text[place:]]))
        entries = list(scanner.entries())
        scanner.end()
        assert [value for _, value in entries] == VALUES
        assert [line for line, _ in entries][:3] == ([1, 1, 1] if indent is None else [2, 3, 4])


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_is_read_wherever_it_is_cut(indent: int | None) -> None:
    document = {"list": VALUES, "object": {str(n): value for n, value in enumerate(VALUES)}, "a:b": 1.25, "": {}}
    text = json.dumps(document, indent=indent)
    for place in range(len(text)):
        found = {}
        for member in members(Scanner(iter([text[:place], text[place:]]))):
            entries = list(member.entries)
            values = [value for _, value in entries]
            found[member.name] = {"list": values, "object": dict(entries), "value": values[0] if values else None}[
                member.kind
            ]
        assert found == document


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ('{"text": }', "at line 3: row 2: Expecting value"),
        ('{"text": "a" "b"}', "row 2: Expecting ',' delimiter"),
        ('{"text": "a\nb"}', "row 2: Invalid control character"),
        ('{"text": NaN}', "row 2: NaN is not a JSON value"),
        ('{"a": 1, "a": 2}', "the name 'a' is repeated"),
        ('{"text": "a"} {"text": "b"}', "at line 3: expected ','"),
    ],
)
def test_a_fault_in_a_long_list_is_named(fault: str, reason: str, tmp_path: Path) -> None:
    """Rather than taken for a row without end."""
    rows = '{"text": "%s"}' % ("x" * 1_000)
    content = "[\n" + ",\n".join([rows, fault, *[rows] * 11_000]) + "]"
    with pytest.raises(InvalidRequest, match=r"not valid JSON") as caught:
        list(open_rows(io.BytesIO(content.encode()), "a.json", ImageStore(tmp_path), 2**30).rows)
    assert reason in caught.value.message
