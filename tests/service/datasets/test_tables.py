"""Tables as people have them: workbooks, JSON documents, plain text, Arrow, decimal commas, no header."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from openpyxl import Workbook

from service.datasets.left_out import suggest
from service.shared.database.tables import Dataset
from service.shared.errors import ServiceError
from tests.service.datasets.corpus import zip_of
from tests.service.datasets.test_corpus import read


def notices(result: dict[str, Any]) -> dict[str, str]:
    return {notice["code"]: notice["message"] for notice in result["profile"]["notices"]}


def workbook(*rows: list[Any], more: Callable[[Workbook], None] | None = None) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    if more is not None:
        more(book)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


# --- workbooks --------------------------------------------------------------------------------------------------------


def test_a_workbooks_cells_keep_their_types(tmp_path: Path) -> None:
    day, moment = datetime.datetime(2026, 5, 1), datetime.datetime(2026, 5, 1, 9, 30)
    content = workbook(
        [],
        ["text", None, "stars", "bought", "seen", "ok"],
        ["good film", "x", 4, day, moment, True],
        [],
        ["3", None, 4.5, day, moment, False],
        *([f"text {n}", None, 1, day, moment, True] for n in range(9)),
        ["beyond", None, 1, day, moment, True, None, "note"],
    )
    result, rows = read(tmp_path, "films.xlsx", content)
    first = {"text": "good film", "column_2": "x", "stars": 4, "bought": "2026-05-01", "seen": "2026-05-01T09:30:00"}
    assert rows[0] == first | {"ok": True}
    assert (rows[1]["text"], rows[1]["column_2"], rows[1]["stars"]) == ("3", None, 4.5)
    (problem,) = result["profile"]["problems"]
    assert (problem["row"], problem["line"]) == (12, 15)
    assert "a value in column H, which has no name" in problem["message"]
    assert "'column_2'" in notices(result)["columns_named"]


def test_other_sheets_and_formulas_without_value_are_named(tmp_path: Path) -> None:
    def more(book: Workbook) -> None:
        book.create_sheet("empty")
        book.create_sheet("second").append(["a", "b"])

    content = workbook(["text", "sum"], ["a", "=1+1"], ["b", 3], more=more)
    result, rows = read(tmp_path, "a.xlsx", content)
    assert [row["sum"] for row in rows] == [None, 3]
    said = notices(result)
    assert "Only sheet 'Sheet' is read. 'second' also holds values" in said["one_sheet"]
    assert "1 formula in column B" in said["formulas_without_value"]


def test_merged_cells_are_said(tmp_path: Path) -> None:
    def more(book: Workbook) -> None:
        book.active.merge_cells("A2:A3")

    result, rows = read(tmp_path, "a.xlsx", workbook(["label", "text"], ["a", "x"], [None, "y"], more=more))
    assert [row["label"] for row in rows] == ["a", None]
    assert "1 block of merged cells" in notices(result)["merged_cells"]
    plain, _ = read(tmp_path, "b.xlsx", workbook(["label", "text"], ["a", "x"], ["b", "y"]))
    assert "merged_cells" not in notices(plain)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (workbook(), "empty_file"),
        (workbook(["text", 7.5], ["a", 1]), "no_header"),
        (workbook(["text", "label"], ["a", 1])[:-400], "damaged_zip"),
        (zip_of({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x>"}), "damaged_xlsx"),
    ],
    ids=["empty", "numbers above", "cut off", "broken"],
)
def test_workbooks_that_are_refused(content: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, "a.xlsx", content)
    assert caught.value.code == code


def test_entities_in_a_workbook_are_not_expanded(tmp_path: Path) -> None:
    """Also where a file outside is named."""
    members = {"[Content_Types].xml": b"<Types/>"}
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]><x>&b;&f;</x>'
    for place in ("[Content_Types].xml", "xl/workbook.xml"):
        folder = tmp_path / place.replace("/", "-")
        folder.mkdir()
        with pytest.raises(ServiceError) as caught:
            read(folder, "a.xlsx", zip_of(members | {"xl/workbook.xml": b"<x/>"} | {place: laughs}))
        assert caught.value.code == "damaged_xlsx"
        assert "root:" not in caught.value.message


def test_a_workbook_may_not_unpack_to_more_than_is_accepted(tmp_path: Path) -> None:
    content = workbook(["text"], *(["a" * 1_000] for _ in range(100)))
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, "a.xlsx", content, limit=10_000)
    assert (caught.value.code, caught.value.status) == ("unpacks_too_large", 413)


# --- JSON documents ---------------------------------------------------------------------------------------------------

ROWS = [{"text": "a", "label": 1}, {"text": "b", "label": 2}]


@pytest.mark.parametrize(
    ("value", "how"),
    [
        ({"text": ["a", "b"], "label": [1, 2]}, "its lists are the columns"),
        ({"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 2}}, "its objects are the columns"),
        ({"x": ROWS[0], "y": ROWS[1]}, "its objects are the rows"),
        ({"columns": ["text", "label"], "index": [0, 1], "data": [["a", 1], ["b", 2]]}, "'columns' names those"),
        ({"schema": {"fields": []}, "data": ROWS}, "its 'data' are the rows"),
        (
            {"features": [{"name": "text"}], "rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]},
            "'rows'",
        ),
        ({"version": "1", "examples": ROWS, "authors": []}, "its 'examples' are the rows"),
    ],
    ids=["lists", "pandas", "index", "split", "data", "viewer", "list"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_rows_are_found_in_one_object(value: Any, how: str, indent: int | None, tmp_path: Path) -> None:
    if how == "'rows'":
        value = {name: entries for name, entries in value.items() if name != "features"}
    result, rows = read(tmp_path, "a.json", json.dumps(value, indent=indent).encode())
    assert rows == ROWS
    assert result["format"] == "json"
    assert how in notices(result)["json_document"]


def test_objects_that_take_several_lines_each_are_rows(tmp_path: Path) -> None:
    content = "\n".join(json.dumps(row, indent=2) for row in ROWS * 20).encode()
    result, rows = read(tmp_path, "a.jsonl", content)
    assert rows == ROWS * 20
    assert "json_document" not in notices(result)


def test_a_line_is_a_row_although_it_holds_lists(tmp_path: Path) -> None:
    lines = [{"tokens": ["a", "b"], "tags": ["O", "O"]}] * 2
    _, rows = read(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert rows == lines


def test_an_object_without_rows_is_refused_with_its_names(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="holds no rows; its names are 'model', 'size'"):
        read(tmp_path, "a.json", b'{\n "model": "x",\n "size": 3\n}')


# --- plain text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "texts", "how"),
    [
        ("a.txt", "One line.\nAnother, longer one.\n\nThird\n", None, "each line"),
        ("a.txt", "First line\nand more.\n\nSecond.\n", ["First line\nand more.", "Second."], "each paragraph"),
        ("a.txt", "Well, yes.\r\nNo, no, no.\r\n", ["Well, yes.", "No, no, no."], "each line"),
        (
            "a.md",
            "Before\n# One\ntext\n```\n# no heading\n```\n## Two\nmore\n",
            ["Before", "# One\ntext\n```\n# no heading\n```", "## Two\nmore"],
            "each section",
        ),
        (
            "a.md",
            "Do:\n\n```py\na = 1\n\nb = 2\n```\n\nDone.\n",
            ["Do:", "```py\na = 1\n\nb = 2\n```", "Done."],
            "paragraph",
        ),
        ("a.txt", "text\nA joy.\nA bore.\n", ["A joy.", "A bore."], "'text', as the first line names it"),
        ("a.md", "No heading here.\n\nBut two paragraphs.\n", ["No heading here.", "But two paragraphs."], "paragraph"),
    ],
    ids=["one blank line", "paragraphs", "commas", "markdown", "code", "header", "markdown without headings"],
)
def test_plain_text_is_read_by_what_it_is_made_of(
    name: str, text: str, texts: list[str] | None, how: str, tmp_path: Path
) -> None:
    if texts is None:  # one blank line by chance
        text = "A line that stands alone.\n" * 30 + "\n" + "Another one.\n" * 30
        texts = ["A line that stands alone."] * 30 + ["Another one."] * 30
    result, rows = read(tmp_path, name, text.encode())
    assert [row["text"] for row in rows] == texts
    assert how in notices(result)["plain_text"]
    (best, *_) = suggest(Dataset(id="ds_aaaaaaaaaa", project_id="p", name=name, **result))
    assert (best.task, best.dataset) == ("text-generation", {"text": "text"})


def test_a_table_in_a_text_file_is_a_table(tmp_path: Path) -> None:
    result, rows = read(tmp_path, "a.txt", b"text;label\ngood film;1\nbad, dull film;0\n")
    assert (result["format"], rows[1]) == ("csv", {"text": "bad, dull film", "label": "0"})


# --- Arrow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_is_read_with_its_names_of_classes(kind: str, tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["neg", "pos"]}}}}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata(
        {"huggingface": json.dumps(features)}
    )
    sink = io.BytesIO()
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(sink, table.schema) as writer:
        writer.write_table(table)
    result, rows = read(tmp_path, "a.arrow", sink.getvalue())
    assert (result["format"], rows) == ("arrow", [{"text": "a", "label": "pos"}, {"text": "b", "label": "neg"}])


def test_a_damaged_arrow_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be read as Parquet or Arrow"):
        read(tmp_path, "a.arrow", b"ARROW1\0\0nonsense")


# --- what the first rows say ------------------------------------------------------------------------------------------


def test_a_first_line_that_is_a_row_is_kept(tmp_path: Path) -> None:
    result, rows = read(tmp_path, "a.csv", b"great film,pos\ndull,neg\nfine,pos\n")
    assert rows[0] == {"column_1": "great film", "column_2": "pos"}
    assert len(rows) == 3
    assert "'pos' stands in other rows of column_2 too" in notices(result)["no_header"]


@pytest.mark.parametrize(
    "content", [b"text,pos\ndull,neg\nfine,pos\n", b"film,verdict\ndull,neg\nfilm,verdict\nfine,pos\n" + b"a,b\n" * 20]
)
def test_a_header_stays_one(content: bytes, tmp_path: Path) -> None:
    """By a usual name; and where it is repeated as a whole, as in files that were joined."""
    result, rows = read(tmp_path, "a.csv", content)
    assert "no_header" not in notices(result)
    repeated = [problem for problem in result["profile"]["problems"] if "repeats the header" in problem["message"]]
    assert len(repeated) == content.count(b"film,verdict") - (content.count(b"film,verdict") > 0)
    assert rows[0]["text" if b"text" in content else "film"] == "dull"


def test_decimal_commas_are_numbers_where_nothing_else_is_meant(tmp_path: Path) -> None:
    lines = ["1.234,5;1,234;0,5;1;1,2,3", "-3,25;2,500;1;2;2"]
    content = "sum;size;score;n;labels\n" + "".join(f"{line}\n" for line in lines * 5)
    result, rows = read(tmp_path, "a.csv", content.encode())
    assert rows[0] == {"sum": "1234.5", "size": "1,234", "score": "0.5", "n": "1", "labels": "1,2,3"}
    types = {column["name"]: column["type"] for column in result["profile"]["columns"]}
    assert types == {"sum": "float", "size": "string", "score": "float", "n": "integer", "labels": "string"}
    said = notices(result)
    assert "'score' has numbers with a decimal comma" in said["decimal_comma"]
    assert "'size' has numbers such as 1,234" in said["comma_in_numbers"]


def test_a_dash_among_numbers_is_a_gap(tmp_path: Path) -> None:
    rows = "".join(f"film {n};{'-' if n % 9 == 0 else f'{n},5'}\n" for n in range(40))
    result, kept = read(tmp_path, "a.csv", f"text;score\n{rows}".encode())
    assert [row["score"] for row in kept[:2]] == [None, "1.5"]
    assert [(column["type"], column["empty"]) for column in result["profile"]["columns"][1:]] == [("float", 5)]
    assert "holds '-' in a column of numbers" in result["profile"]["problems"][0]["message"]


def test_points_beside_decimal_commas_are_said(tmp_path: Path) -> None:
    rows = "".join(f"film {n};1.{n + 100};{n},5\n" for n in range(40))
    said = notices(read(tmp_path, "a.csv", f"text;price;score\n{rows}".encode())[0])
    assert "Column 'price' has numbers such as 1.100" in said["point_in_numbers"]
    alone = "".join(f"film {n};1.{n + 100}\n" for n in range(40))
    assert "point_in_numbers" not in notices(read(tmp_path, "b.csv", f"text;price\n{alone}".encode())[0])


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ('text, label\nR1, "very, good"\nR2, bad\n', {"text": "R1", "label": "very, good"}),
        ('text,label\nR1, "very good"\nR2,bad\n', {"text": "R1", "label": "very good"}),
        ("text, label\nR1, bad\n", {"text": "R1", "label": "bad"}),
        ("label, text \npos,  a\npos,b\n", {"label": "pos", "text": "  a"}),
        ('label,text\npos, "Good" he said\nneg,no\n', {"label": "pos", "text": ' "Good" he said'}),
        ("text, text\na,b\n", {"text": "a", "text_2": "b"}),
    ],
)
def test_blanks_behind_separators(content: str, first: dict[str, str], tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", content.encode())[1][0] == first


def test_columns_that_no_job_reads_are_said(tmp_path: Path) -> None:
    rows = "".join(f"film {n},{n % 2},{('train', 'test', 'val')[n % 3]},{n / 7}\n" for n in range(40))
    said = notices(read(tmp_path, "a.csv", f"text,label,split,weight\n{rows}".encode())[0])
    assert "rows of all splits are trained on" in said["split_column"]
    assert "every row counts the same" in said["weight_column"]
    rows = "".join(f"film {n},{n % 2},{n % 3}\n" for n in range(40))
    assert "split_column" not in notices(read(tmp_path, "b.csv", f"text,label,set\n{rows}".encode())[0])
