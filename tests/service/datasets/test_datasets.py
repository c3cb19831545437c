"""Uploads: what is kept, what is found out, what is refused and why."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from service.datasets.service import dataset_path
from service.settings import Settings
from tests.service.support import Service, copy_model, error_of, jsonl, rows, running

FORM = {"content-type": "multipart/form-data; boundary=b"}


def kept(service: Service, dataset: dict[str, Any]) -> list[dict[str, Any]]:
    text = dataset_path(service.settings, dataset["id"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def refused(service: Service, content: str | bytes, name: str = "rows.csv", status: int = 422) -> dict[str, Any]:
    response = service.client.post("/datasets", files={"file": (name, content)})
    assert response.status_code == status, response.text
    assert list(service.settings.folder("datasets").iterdir()) == []
    assert service.client.get("/datasets").json()["data"] == []
    return error_of(response.json())


def test_csv_with_quotes_and_line_breaks(any_service: Service) -> None:
    text = 'text,label,score\r\n"two\nlines, ""quoted""",pos,1.5\r\nplain,neg,2\r\n\r\n,pos,\r\n'
    dataset = any_service.upload(text, "réviews (1).csv")
    assert dataset["name"] == "réviews (1).csv"
    assert (dataset["format"], dataset["rows"], dataset["problem_count"]) == ("csv", 3, 0)
    assert kept(any_service, dataset)[0] == {"text": 'two\nlines, "quoted"', "label": "pos", "score": "1.5"}
    text_column, label, score = dataset["columns"]
    assert (text_column["type"], text_column["empty"], text_column["distinct"]) == ("string", 1, 2)
    assert (text_column["min_length"], text_column["max_length"]) == (5, 19)
    assert label["values"] == {"pos": 2, "neg": 1}
    assert (score["type"], score["empty"]) == ("float", 1)
    assert any_service.client.get(f"/datasets/{dataset['id']}").json() == dataset
    preview = any_service.client.get(f"/datasets/{dataset['id']}/preview").json()
    assert preview["columns"] == ["text", "label", "score"]
    assert preview["rows"] == kept(any_service, dataset)


def test_jsonl_keeps_types_and_fills_gaps(service: Service) -> None:
    text = jsonl(
        {"text": "a", "label": 1, "ok": True}, {"text": "b", "label": 2.0}, {"text": None, "label": 3, "x": 0.5}
    )
    dataset = service.upload("\n" + text, "rows.jsonl")
    assert dataset["format"] == "jsonl"
    types = {column["name"]: (column["type"], column["empty"]) for column in dataset["columns"]}
    assert types == {"text": ("string", 1), "label": ("float", 0), "ok": ("boolean", 2), "x": ("float", 2)}
    assert kept(service, dataset)[1] == {"text": "b", "label": 2.0, "ok": None, "x": None}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_found_in_the_header(service: Service, separator: str) -> None:
    dataset = service.upload(rows(5).replace(",", separator))
    assert [column["name"] for column in dataset["columns"]] == ["text", "label"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows"])
def test_a_byte_order_mark_is_no_part_of_the_header(service: Service, name: str) -> None:
    dataset = service.upload(codecs.BOM_UTF8 + rows(3).encode(), name)
    assert dataset["columns"][0]["name"] == "text"


def test_bad_rows_are_left_out_and_named(service: Service) -> None:
    text = rows(40) + 'a,b,c\nonly\nx"y,"z"w\n'
    dataset = service.upload(text)
    assert (dataset["rows"], dataset["problem_count"]) == (40, 3)
    assert [problem["row"] for problem in dataset["problems"]] == [41, 42, 43]
    assert [problem["line"] for problem in dataset["problems"]] == [42, 43, 44]
    assert "3 cells where the header has 2" in dataset["problems"][0]["message"]
    good = [{"text": "good", "label": n % 2} for n in range(60)]
    bad = ["{not json", "[1, 2]", '{"text": {"a": 1}}', '{"a": 1, "a": 2}', '{"text": NaN}', '"\\ud800"']
    dataset = service.upload(jsonl(*good) + "\n".join(bad) + "\n", "rows.jsonl")
    assert (dataset["rows"], dataset["problem_count"]) == (60, 6)
    assert [problem["row"] for problem in dataset["problems"]] == list(range(61, 67))
    assert dataset["problems"][2]["column"] == "text"
    assert "holds an object" in dataset["problems"][2]["message"]


def test_only_the_first_hundred_problems_are_listed(service: Service) -> None:
    dataset = service.upload(rows(1_500) + "too,many,cells\n" * 150)
    assert (dataset["problem_count"], len(dataset["problems"])) == (150, 100)


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        ("", "rows.csv", "empty_file"),
        ("\n\n", "rows.csv", "empty_file"),
        ("", "rows.jsonl", "empty_file"),
        ("text,label\n", "rows.csv", "no_rows"),
        ("1,2\n3,4\n", "rows.csv", "no_header"),
        ("text,\na,b\n", "rows.csv", "no_header"),
        ("text,text\na,b\n", "rows.csv", "duplicate_columns"),
        ("text,label\na,b\na,b,c\n", "rows.csv", "too_many_bad_rows"),
        ('text,label\n"never closed,b\na,b\n', "rows.csv", "unclosed_quote"),
        ("text,label\nfa\xe7ade,b\n".encode("latin-1"), "rows.csv", "not_utf8"),
        (b"PAR1" + bytes(20), "rows.csv", "damaged_parquet"),
        (b"PK\x03\x04" + bytes(20), "rows.csv", "damaged_zip"),
        (",".join(f"c{n}" for n in range(501)) + "\n", "rows.csv", "too_many_columns"),
        ("".join(jsonl({f"c{n}": 1}) for n in range(501)), "rows.jsonl", "too_many_columns"),
        ("[" * 100_000, "rows.jsonl", "invalid_json"),
        ('{"a":' * 100_000, "rows.jsonl", "too_many_bad_rows"),
        (bytes(1_000), "rows.csv", "no_header"),
    ],
)
def test_files_that_cannot_be_used_are_refused(service: Service, content: str | bytes, name: str, code: str) -> None:
    error = refused(service, content, name)
    assert (error["code"], error["param"], error["type"]) == (code, "file", "invalid_request")
    assert error["message"].endswith(".")


def test_a_bad_byte_is_named_by_line(service: Service) -> None:
    assert "Line 3 is not UTF-8" in refused(service, b"text,label\na,b\n\xff,b\n")["message"]


def test_the_first_bad_row_is_named(service: Service) -> None:
    assert "row 2 (line 3)" in refused(service, "text,label\na,b\na,b,c\n")["message"]


def test_a_missing_file_is_a_missing_field(service: Service) -> None:
    response = service.client.post("/datasets", files={"other": ("a.csv", rows())})
    assert (response.status_code, error_of(response.json())["param"]) == (422, "file")


def test_too_large_an_upload_is_413(settings: Settings, tiny_model: Any) -> None:
    settings = settings.model_copy(update={"max_upload_bytes": 2_000_000})
    copy_model(tiny_model, settings)
    with running(settings) as service:
        error = refused(service, rows(90_000), status=413)
        assert error["type"] == "too_large"
        unmeasured = service.client.post("/datasets", content=iter([b"x" * 1_000_000] * 4), headers=FORM)
        assert unmeasured.status_code == 413
        service.upload(rows(60_000))  # larger than other requests may be


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\evil.csv", "a\x00b.csv", "", "x" * 2_000 + ".csv", "%2e%2e/a"]
)
def test_a_file_name_names_no_file(service: Service, name: str) -> None:
    response = service.client.post("/datasets", files={"file": (name or "x", rows(5))})
    assert response.status_code == 201
    assert "/" not in response.json()["name"]
    names = {path.name for path in service.settings.folder("datasets").iterdir()}
    assert names == {f"{response.json()['id']}.jsonl", f"{response.json()['id']}.hashes"}


def test_data_sets_are_listed_page_by_page(any_service: Service) -> None:
    made = [any_service.upload(rows(4))["id"] for _ in range(3)]
    first = any_service.client.get("/datasets?limit=2").json()
    assert [item["id"] for item in first["data"]] == made[:0:-1]
    assert first["has_more"] is True
    second = any_service.client.get("/datasets", params={"limit": 2, "after": first["next"]}).json()
    assert [item["id"] for item in second["data"]] == made[:1]
    assert second["has_more"] is False


# Starlette leaves the half-read file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_upload_that_breaks_off_leaves_nothing(service: Service) -> None:
    start = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\ntext,label\r\na,b\r\n'
    response = service.client.post("/datasets", content=start.encode(), headers=FORM)
    assert response.status_code in (400, 422)
    assert list(service.settings.folder("datasets").iterdir()) == []
