"""Each broken file is refused, or its bad rows are listed, with a remedy."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from service.datasets.convert import HASHES, ROWS, Conversion, convert_upload
from service.datasets.repeated_rows import Overlap, contradicting_within, repeated_between, repeated_within
from service.datasets.row_hashes import RowHashes
from service.shared.errors import ServiceError
from tests.service.datasets import corpus
from tests.service.datasets.corpus import csv_of, image, json_lines, parquet_of, zip_of

LIMIT = 2**28


def read(folder: Path, name: str, content: bytes, limit: int = LIMIT) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Convert a file in this process; return the result and the stored rows."""
    result = convert_upload(Conversion(name, limit, 4 * limit, 0, 0), folder, io.BytesIO(content))
    return result, [json.loads(line) for line in (folder / ROWS).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", corpus.REFUSED)
def test_broken_file_is_refused(case: str, tmp_path: Path) -> None:
    name, content, code = corpus.REFUSED[case]
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, name, content)
    assert (caught.value.code, caught.value.status, caught.value.param) == (code, 422, "file")
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("case", corpus.PROBLEMS)
def test_bad_row_is_listed(case: str, tmp_path: Path) -> None:
    name, content, message = corpus.PROBLEMS[case]
    result, kept = read(tmp_path, name, content)
    problems = result["profile"]["problems"]
    assert any(message in problem["message"] for problem in problems), problems
    assert len(problems) == result["profile"]["problem_count"]
    assert all(problem["row"] >= 1 for problem in problems)
    left_out = result["profile"]["left_out"] + result["profile"]["empty_rows"]
    assert left_out == sum(problem["left_out"] for problem in problems)
    assert len(kept) == result["rows"] > 0


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("text,,label", ["text", "column_2", "label"]),
        (",text,label", ["index", "text", "label"]),  # as pandas writes its index
        (",index,label", ["column_1_2", "index", "label"]),
        ("text,text,label", ["text", "text_2", "label"]),
        ("text,text_2,text", ["text", "text_2", "text_3"]),
    ],
)
def test_columns_without_a_name_of_their_own_get_one(header: str, names: list[str], tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.csv", f"{header}\na,b,c\nd,e,f\n".encode())
    assert list(kept[0]) == names
    assert result["profile"]["notices"][0]["code"] == "columns_named"


def test_bad_byte_is_reported_by_line(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"Line 3 is not UTF-8 \(byte 2 of the line\)"):
        read(tmp_path, "a.csv", b"text,label\na,b\nb\xff,b\n")


def test_all_problems_are_in_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, "a.csv", csv_of(*(f"a,{n}" for n in range(50)), *["a,b,c"] * 120))
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("120 of 170 rows cannot be used")
    assert lines[1].startswith("120 rows (first 51, 52, 53, 54, 55; line 52): has 3 cells")
    assert len(lines) == 2


def test_problems_of_one_fault_are_one_group(tmp_path: Path) -> None:
    rows = [f"text {n},{n % 2}" for n in range(400)]
    rows[3:40:9] = ["a,b,c", "a", "a,b,c,d", "a,b,c", "a,b,c"]
    result, _ = read(tmp_path, "a.csv", csv_of(*rows, ",", *[f"b{n},nan" for n in range(120)]))
    profile = result["profile"]
    found = [(group["rows"], group["column"], group["left_out"], group["first"]) for group in profile["problem_groups"]]
    assert found == [
        (5, None, True, [4, 13, 22, 31, 40]),
        (1, None, True, [401]),
        (120, "label", False, [402, 403, 404, 405, 406]),
    ]
    assert sum(group["rows"] for group in profile["problem_groups"]) == profile["problem_count"]
    assert profile["problem_groups"][0]["line"] == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gzip", gzip.compress(csv_of("a," + "b" * 2_000_000), mtime=0)),
        ("zip", zip_of({"a/b.png": bytes(2_000_000)})),
        ("parquet", parquet_of({"text": ["a" * 1_000_000, "b" * 1_000_000]}, use_dictionary=False)),
        ("rows", parquet_of({"text": ["a" * 100_000] * 60})),
        ("plain", csv_of(*["a,b"] * 400_000)),
    ],
)
def test_oversized_content_returns_413(name: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, name, content, limit=1_000_000)
    assert caught.value.status == 413


def test_encodings(tmp_path: Path) -> None:
    text = "text,label\n" + "Le café était délicieux, vraiment très agréable;1\nGrüße, schöne Straße;0\n".replace(
        ",", " "
    ).replace(";", ",")
    for index, (encoding, converted) in enumerate(
        [("utf-8", False), ("utf-8-sig", False), ("utf-16", True), ("utf-32", True), ("cp1252", True)]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        result, kept = read(folder, "a.csv", text.encode(encoding))
        assert [row["text"] for row in kept] == [
            "Le café était délicieux  vraiment très agréable",
            "Grüße  schöne Straße",
        ]
        notices = [notice["code"] for notice in result["profile"]["notices"]]
        assert ("converted_encoding" in notices) is converted


def test_missing_numbers_become_empty(tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.csv", csv_of("a,1.5", "b,nan", "c,2", "d,#N/A", "e,", "f,3"))
    assert [row["label"] for row in kept] == ["1.5", None, "2", None, "", "3"]
    label = result["profile"]["columns"][1]
    assert (label["type"], label["empty"]) == ("float", 3)
    assert [(problem["row"], problem["line"], problem["column"]) for problem in result["profile"]["problems"]] == [
        (2, 3, "label"),
        (4, 5, "label"),
    ]


def test_notices_on_unsuitable_labels(tmp_path: Path) -> None:
    rows = [f"text {n},{'nan' if n == 3 else 'abc'[n % 2]},x,{'rare' if n == 5 else 'often'}" for n in range(20)]
    result, _ = read(tmp_path, "a.csv", csv_of(*rows, header="text,label,same,class"))
    notices = {(notice["code"], notice["column"]) for notice in result["profile"]["notices"]}
    assert notices == {
        ("rare_classes", "label"),
        ("nan_as_text", "label"),
        ("one_value", "same"),
        ("rare_classes", "class"),
    }


def notices(result: dict[str, Any]) -> dict[tuple[str, str | None], str]:
    return {(notice["code"], notice["column"]): notice["message"] for notice in result["profile"]["notices"]}


def test_spellings_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    labels = ["caf\u00e9", "cafe\u0301", "tea", "neg", "neg\u200b"] * 4
    result, _ = read(tmp_path, "a.jsonl", corpus.json_lines(*({"text": "a", "label": label} for label in labels)))
    said = notices(result)["label_variants", "label"]
    assert r"'caf\xe9' (4 rows) beside 'cafe\u0301' (4 rows)" in said
    assert r"'neg' (4 rows) beside 'neg\u200b' (4 rows)" in said


def test_labels_written_in_several_ways_are_counted_and_named(tmp_path: Path) -> None:
    labels = ["pos", "Pos", "pos ", "neg", "neg", "1.0", "1", "1.0", "True", "true", "N/A", "None", "neg", "pos"]
    rows = [f"text {n},{label}" for n, label in enumerate(labels)]
    result, kept = read(tmp_path, "a.csv", csv_of(*rows))
    assert [row["label"] for row in kept] == labels
    values = result["profile"]["columns"][1]["values"]
    assert values == {"pos": 3, "neg": 3, "1": 3, "true": 2, "Pos": 1, "N/A": 1, "None": 1}
    found = notices(result)
    assert "'pos' (3 rows) beside 'Pos' (1 row)" in found["label_variants", "label"]
    assert "'N/A' in 1 row and 'None' in 1 row" in found["nan_as_text", "label"]
    spellings = found["label_spellings", "label"]
    for shown in ("'pos ' in 1 row as 'pos'", "'1.0' in 2 rows as '1'", "'True' in 1 row as 'true'"):
        assert shown in spellings


def test_labels_written_in_one_way_are_not_remarked_upon(tmp_path: Path) -> None:
    rows = [f"Text {n % 3},{('True', 'False')[n % 2]},{n % 3}.0,Good" for n in range(12)]
    result, _ = read(tmp_path, "a.csv", csv_of(*rows, header="text,label,score,same"))
    assert [(c["name"], c["type"]) for c in result["profile"]["columns"][1:3]] == [
        ("label", "boolean"),
        ("score", "float"),
    ]
    assert set(notices(result)) == {("one_value", "same"), ("contradictions", "label")}


def test_tags_are_looked_at_too(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": ["O", tag]} for tag in ("B-PER", "b-per", "null", "O")]
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert {("label_variants", "tags"), ("nan_as_text", "tags")} == set(notices(result))


def test_words_are_not_compared_as_labels(tmp_path: Path) -> None:
    """Before: "In" beside "in" was said to be two classes."""
    rows = [{"tokens": [word, "null"], "tags": ["O", "O"]} for word in ("In", "in", "In", "a")]
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert ("label_variants", "tokens") not in notices(result)
    assert ("nan_as_text", "tokens") not in notices(result)


def test_a_type_is_that_of_all_ways_to_write_a_value(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.csv", csv_of("a,1", "b,1.0", "c,2", "d,2"))
    assert result["profile"]["columns"][1]["type"] == "float"


def test_one_text_under_several_labels_is_counted(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.csv", csv_of("a,1", "a,0", "b,1", "b,1.0", "a,1", "c,0", ",1", ",0"))
    assert notices(result)["contradictions", "label"].startswith(
        "3 of 8 rows have the 'text' of another row but another 'label'"
    )
    hashes = RowHashes(tmp_path / HASHES)
    assert contradicting_within(hashes, ["text"], "label") == Overlap(8, 3)


def test_a_pair_of_texts_may_share_one_of_them(tmp_path: Path) -> None:
    rows = ["a,x,1", "a,y,0", "b,x,1", "b,x,0"]
    result, _ = read(tmp_path, "a.csv", csv_of(*rows, header="text,text_pair,label"))
    assert notices(result)["contradictions", "label"].startswith("2 of 4 rows have the 'text' and 'text_pair'")


def test_modes_of_images_are_counted(tmp_path: Path) -> None:
    deep = image(mode="I;16", color=900)
    members = {
        "a/1.png": image(),
        "a/2.png": image(mode="RGBA", color=(0, 0, 0, 255)),
        "b/3.png": image(mode="RGBA", color=(0, 0, 0, 0)),
        "b/4.png": image(mode="P", color=0, transparency=0),
        "b/5.png": image(mode="LA", color=(9, 200)),
        "a/6.png": deep,
        "a/7.png": deep,
        "b/7.png": deep,
    }
    result, _ = read(tmp_path, "a.zip", zip_of(members))
    assert result["profile"]["image_modes"] == {"I;16": 3, "RGBA": 2, "RGB": 1, "P": 1, "LA": 1}
    found = notices(result)
    assert found["transparent_images", "image"].startswith("3 of 8 images have transparent parts")
    assert found["deep_images", "image"].startswith("3 of 8 images have 16 bits of grey")
    assert "above 900 of 65,535, so models see 4 shades" in found["dark_images", "image"]
    assert found["contradictions", "label"].startswith("3 of 8 rows have the 'image' of another row")


def test_plain_images_are_not_remarked_upon(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.zip", zip_of(corpus.class_folders()))
    assert (result["profile"]["image_modes"], result["profile"]["notices"]) == ({"RGB": 20}, [])


def test_distinct_values_are_counted_up_to_1000(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.csv", csv_of(*(f"text,class {n}" for n in range(10_000))))
    label = result["profile"]["columns"][1]
    assert (label["distinct"], label["distinct_capped"], label["values"]) == (1_000, True, None)


def test_lengths_and_duplicates(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.csv", csv_of("a,1", "abc,1", "abcd,0", "a,1", "a,0", "a,1"))
    text = result["profile"]["columns"][0]
    assert text["lengths"] == [{"up_to": 1, "rows": 4}, {"up_to": 3, "rows": 1}, {"up_to": 7, "rows": 1}]
    duplicates = result["profile"]["duplicates"]
    assert duplicates == {"rows": 2, "examples": [{"row": 4, "repeats": 1}, {"row": 6, "repeats": 1}]}
    assert result["profile"]["repeated"]["text"] == 3


def test_empty_cells_are_not_duplicates(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "a.csv", csv_of(",1", ",2", ",3", "a,4", "a,5"))
    assert result["profile"]["repeated"] == {"text": 1}
    hashes = RowHashes(tmp_path / HASHES)
    assert repeated_within(hashes, ["text", "label"]).repeated == 0
    assert repeated_between(hashes, hashes, ["text"]).repeated == 2


def test_lists_and_chats_are_kept(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["a", "b"], "tags": ["X", "O"], "messages": corpus.chat("system", "user", "assistant")["messages"]},
        {"tokens": ["c"], "tags": ["O"]},
    ]
    result, kept = read(tmp_path, "rows", json.dumps(rows, indent=2).encode())
    assert result["format"] == "json"
    assert kept == [rows[0], rows[1] | {"messages": None}]
    types = {column["name"]: column["type"] for column in result["profile"]["columns"]}
    assert types == {"tokens": "list", "tags": "list", "messages": "messages"}
    assert result["profile"]["columns"][1]["values"] == {"O": 2, "X": 1}


def test_parquet_types(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table(
        {
            "when": pa.array([0], pa.timestamp("us")),
            "price": pa.array([12.5]).cast(pa.decimal128(5, 2)),
            "kind": pa.array(["a"]).dictionary_encode(),
            "tags": pa.array([["a", "b"]]),
            "chat": pa.array([corpus.chat("user", "assistant")["messages"]]),
            "label": [1],
        },
    ).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}})}
    )
    result, (row,) = read(tmp_path, "a.parquet", parquet_of_table(table))
    assert row == {
        "when": "1970-01-01T00:00:00",
        "price": 12.5,
        "kind": "a",
        "tags": ["a", "b"],
        "chat": corpus.chat("user", "assistant")["messages"],
        "label": "yes",
    }
    assert result["format"] == "parquet"


def parquet_of_table(table: Any) -> bytes:
    import io

    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def test_images_are_kept_upright_under_safe_names(tmp_path: Path) -> None:
    from PIL import Image

    members = {
        "pets/cat/ä b.png": image(),
        "pets/cat/photo.jpg": corpus.turned_image(),
        "pets/dog/old.bmp": image("BMP"),
        "pets/dog/moving.gif": image("GIF", color=3, mode="P"),
        "pets/dog/new.webp": image("WEBP"),
        "pets/dog/print.jpg": image("JPEG", mode="CMYK", color=(1, 2, 3, 4)),
        "__MACOSX/pets/dog/new.webp": b"junk",
    }
    result, kept = read(tmp_path, "a.zip", zip_of(members))
    assert (result["format"], result["rows"], result["profile"]["problem_count"]) == ("images", 6, 0)
    assert {row["file_name"]: row["label"] for row in kept} == {
        name: name.split("/")[1] for name in members if not name.startswith("__")
    }
    by_name = {row["file_name"]: tmp_path / "images" / row["image"] for row in kept}
    assert by_name["pets/cat/ä b.png"].read_bytes() == members["pets/cat/ä b.png"]
    with Image.open(by_name["pets/cat/photo.jpg"]) as photo:
        assert photo.size == (8, 16)
        assert dict(photo.getexif()) == {}
        red, _, blue = photo.convert("RGB").getpixel((4, 2))  # type: ignore[misc]
        assert (red > 200, blue > 100) == (True, False)
    for name in by_name.values():
        with Image.open(name) as stored:
            stored.load()
            assert stored.format in ("PNG", "JPEG", "WEBP")


def test_metadata_labels_images(tmp_path: Path) -> None:
    rows = [{"file_name": f"{n}.png", "label": n % 2, "tags": ["a"]} for n in range(3)]
    members = {f"train/{n}.png": image(color=(n, n, n)) for n in range(3)} | {"train/metadata.jsonl": json_lines(*rows)}
    _, kept = read(tmp_path, "a.zip", zip_of(members))
    assert [(row["label"], row["tags"], row["file_name"]) for row in kept] == [
        (n % 2, ["a"], f"train/{n}.png") for n in range(3)
    ]


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_separators(separator: str, tmp_path: Path) -> None:
    text = f'text{separator}label\r\n"a, b{separator}c\nd"{separator}1\r\n'
    result, kept = read(tmp_path, "a.tsv", text.encode())
    assert kept == [{"text": f"a, b{separator}c\nd", "label": "1"}]
    assert result["profile"]["notices"][0]["code"] == "separator"


def test_artefacts_of_spreadsheets_are_not_rows(tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.csv", b"sep=;\r\ntext;label;\r\na;1;\r\n;;\r\n;;\r\n")
    assert kept == [{"text": "a", "label": "1"}]
    assert result["profile"]["empty_rows"] == 2
    assert [problem["line"] for problem in result["profile"]["problems"]] == [3, 4]
