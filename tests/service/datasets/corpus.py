"""Generated broken and odd files."""

from __future__ import annotations

import gzip
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from tests.service.datasets.workbooks import BOMB, with_parts, workbook_of


def csv_of(*lines: str, header: str = "text,label") -> bytes:
    return ("\n".join([header, *lines]) + "\n").encode()


def json_lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet_of(columns: Mapping[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table(dict(columns)), buffer, **options)
    return buffer.getvalue()


def image(
    format_: str = "PNG", size: tuple[int, int] = (8, 6), color: Any = (200, 30, 30), mode: str = "RGB", **options: Any
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, format_, **options)
    return buffer.getvalue()


def arrow_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def arrow_that_reads_outside() -> bytes:
    """Write a text that ends before it begins."""
    content = arrow_of(pa.table({"text": ["a" * 4_660, "b"]}))
    return content.replace(struct.pack("<III", 0, 4_660, 4_661), struct.pack("<III", 0, 4_660, 4_000))


def zip_that_begins_before_itself() -> bytes:
    """Write a directory that says of itself that it lies later than it does."""
    archive = bytearray(zip_of({"train.csv": TEXTS, "test.csv": TEXTS}))
    place = archive.rindex(b"PK\x05\x06") + 16
    archive[place : place + 4] = struct.pack("<I", struct.unpack("<I", archive[place : place + 4])[0] + 100)
    return bytes(archive)


def turned_image(orientation: int = 6) -> bytes:
    """Build a photograph with an EXIF orientation, red on the left as stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.new("RGB", (16, 8), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 8, 8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def zip_of(members: Mapping[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change is not None:
                change(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def coco_of(*names: str) -> bytes:
    """Write annotations with one category for each image."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    annotations = [{"image_id": number, "category_id": number % 2} for number in range(len(names))]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def class_folders(count: int = 20) -> dict[str, bytes]:
    return {f"pets/{('cat', 'dog')[n % 2]}/{n}.png": image(color=(n, 2 * n, 100)) for n in range(count)}


def link(info: zipfile.ZipInfo) -> None:
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def encrypted(archive: bytes) -> bytes:
    """Set the encryption flag in the zip's directory."""
    return archive.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")


def png_that_claims(width: int, height: int) -> bytes:
    """Build the header of an enormous image, followed by hardly any data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = (header, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"said by {role}"} for role in roles]}


ANSWER = {"role": "assistant", "content": "a"}
CHATS = [chat("user", "assistant")] * 20
TEXTS = csv_of(*(f"text {n},{n % 2}" for n in range(20)))
GOOD = json_lines(*({"text": f"text {n}", "label": n % 2} for n in range(20)))

# name -> (file name, content, code of the refusal)
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("a.csv", b"", "empty_file"),
    "white space": ("a.csv", b" \n\t\n", "empty_file"),
    "an empty list": ("a.json", b" [ ] ", "empty_file"),
    "a header only": ("a.csv", csv_of(), "no_rows"),
    "only empty rows": ("a.csv", csv_of(*[","] * 5), "no_rows"),
    "Parquet without rows": ("a.parquet", parquet_of({"text": pa.array([], pa.string())}), "no_rows"),
    "ragged rows": ("a.csv", csv_of("a,b,c", "d,e", "f"), "too_many_bad_rows"),
    "Latin-1": ("a.csv", csv_of().replace(b"label", b"l\xe4bel") + b"a,b\n", "not_utf8"),
    "Shift JIS": ("a.csv", csv_of(*["つまらない映画,neg"]).decode().encode("shift_jis"), "not_utf8"),
    "UTF-16 cut in half": ("a.csv", TEXTS.decode().encode("utf-16")[:-1], "bad_encoding"),
    "UTF-16 without mark": ("a.csv", TEXTS.decode().encode("utf-16-le"), "no_header"),
    "NUL in the header": ("a.csv", b"te\0xt,label\na,b\n", "no_header"),
    "numbers as header": ("a.csv", b"0,1\n2,3\n", "no_header"),
    "501 columns": ("a.csv", ",".join(f"c{n}" for n in range(501)).encode(), "too_many_columns"),
    "501 names in rows": ("a.jsonl", json_lines(*({f"c{n}": 1} for n in range(501))), "too_many_columns"),
    "zeros": ("a.csv", bytes(1_000), "no_header"),
    "empty names": ("a.csv", b"text,,,\na,b,c,d\n", "no_header"),
    "a quote without end": ("a.csv", csv_of('"a,1', "b,2"), "unclosed_quote"),
    "a huge field": ("a.csv", csv_of('"' + "x\n" * 6_000_000 + '",1'), "cell_too_long"),
    "a huge line": ("a.jsonl", b'{"text": "' + b"x" * 11_000_000 + b'"}', "line_too_long"),
    "a huge row in a list": ("a.json", b'[{"text": "' + b"x" * 13_000_000 + b'"}]', "too_many_bad_rows"),
    "objects six levels deep": (
        "a.jsonl",
        json_lines(*[{"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}] * 5),
        "too_many_bad_rows",
    ),
    "lists of lists": ("a.jsonl", json_lines(*[{"text": [["a"]]}] * 5), "too_many_bad_rows"),
    "deep JSON": ("a.jsonl", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "too_many_bad_rows"),
    "a deep list": ("a.json", b"[" + b'{"a":' * 50_000, "invalid_json"),
    "a list with a fault": ("a.json", b'[{"text": "a"},\n{"text": }]', "invalid_json"),
    "a list without end": ("a.json", b'[{"text": "a"}, {"text": "b"}', "invalid_json"),
    "more behind the list": ("a.json", b'[{"text": "a"}] []', "invalid_json"),
    "one object over lines": ("a.json", b'{\n"data": 3,\n"name": "a"}', "unsupported_format"),
    "several tables in one object": (
        "a.json",
        b'{"train": [{"text": "a"}], "test": [{"text": "b"}]}',
        "several_tables",
    ),
    "one object without end": ("a.json", b'{\n"data": [\n{"text": "a"}', "too_many_bad_rows"),
    "a damaged spreadsheet": ("a.xlsx", with_parts({"xl/workbook.xml": b"<x"}), "damaged_xlsx"),
    "entities in a spreadsheet": (
        "a.xlsx",
        with_parts({"xl/styles.xml": f"{BOMB}<x>&j;</x>".encode()}),
        "damaged_xlsx",
    ),
    "a spreadsheet without values": ("a.xlsx", workbook_of({"a": [], "b": []}), "empty_file"),
    "a spreadsheet with numbers as header": ("a.xlsx", workbook_of({"a": [[1, 2], [3, 4]]}), "no_header"),
    "an old spreadsheet": ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "unsupported_format"),
    "a text of blank lines": ("a.txt", b" \n\n \n", "empty_file"),
    "a Markdown file of nothing": ("a.md", b"\n", "empty_file"),
    "NaN and Infinity": ("a.jsonl", b'{"x": NaN}\n{"x": -Infinity}\n{"x": 1e999}\n', "too_many_bad_rows"),
    "names twice": ("a.jsonl", b'{"a": 1, "a": 2}\n' * 3, "too_many_bad_rows"),
    "plain values": ("a.jsonl", b'"a"\n1\nnull\n[]\n', "too_many_bad_rows"),
    "ShareGPT's chats without an answer": (
        "a.jsonl",
        json_lines(*[{"conversations": [{"from": "human", "value": "a"}]}] * 3),
        "too_many_bad_rows",
    ),
    "chats that begin with a tool": ("a.jsonl", json_lines(*[chat("tool", "assistant")] * 3), "too_many_bad_rows"),
    "chats about images": (
        "a.jsonl",
        json_lines(*[{"messages": [{"role": "user", "content": [{"type": "image"}]}, ANSWER]}] * 3),
        "too_many_bad_rows",
    ),
    "calls of a tool without a name": (
        "a.jsonl",
        json_lines(*[{"messages": [{**ANSWER, "tool_calls": [{"type": "function"}]}]}] * 3),
        "too_many_bad_rows",
    ),
    "gzip cut in half": ("a.csv.gz", gzip.compress(TEXTS)[:-12], "damaged_gzip"),
    "gzip in gzip": ("a.csv.gz", gzip.compress(gzip.compress(TEXTS)), "unsupported_format"),
    "a pickle": ("a.csv", b"\x80\x04\x95\x10\x00", "unsupported_format"),
    "a PDF": ("a.csv", b"%PDF-1.7 ...", "unsupported_format"),
    "an HTML page": ("a.csv", b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "unsupported_format"),
    "an XML file": ("a.csv", b'<?xml version="1.0"?>\n<rows/>', "unsupported_format"),
    "a Git LFS pointer": (
        "a.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n",
        "unsupported_format",
    ),
    "a notebook": ("a.json", b'{\n "cells": [\n  {"cell_type": "code"}], "nbformat": 4}', "unsupported_format"),
    "an RTF document": ("a.txt", b"{\\rtf1 text}", "unsupported_format"),
    "CoNLL without tags": ("a.conll", b"EU\nrejects\n\nPeter\n", "no_tags"),
    "CoNLL without words": ("a.conll", b"-DOCSTART- O\n\n", "empty_file"),
    "CoNLL without end": ("a.conll", b"a O\n" * 100_001, "too_many_bad_rows"),
    "images of Label Studio": (
        "a.jsonl",
        json_lines({"data": {"image": "/1.jpg"}, "annotations": [{"result": [{"value": {"choices": ["cat"]}}]}]}),
        "media_not_in_file",
    ),
    "one image": ("a.png", image(), "unsupported_format"),
    "Parquet cut in half": ("a.parquet", parquet_of({"text": ["a"] * 100})[:-60], "damaged_parquet"),
    "Parquet without middle": ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "damaged_parquet"),
    "Arrow with a text outside of it": ("a.arrow", arrow_that_reads_outside(), "damaged_parquet"),
    "Arrow with a name that is no text": (
        "a.arrow",
        arrow_of(pa.table({"text": ["a"]})).replace(b"text", b"te\xff\xff"),
        "damaged_parquet",
    ),
    "a zip with a file without a name": ("a.zip", zip_of({"a": b"a"}).replace(b"a", b"\0"), "damaged_zip"),
    "a zip that begins before itself": ("a.zip", zip_that_begins_before_itself(), "damaged_zip"),
    "Parquet with bytes": ("a.parquet", parquet_of({"image": [b"\x89PNG"] * 3}), "too_many_bad_rows"),
    "Parquet with bytes in structs": ("a.parquet", parquet_of({"a": [{"b": b"1"}]}), "unsupported_column"),
    "Parquet with maps": (
        "a.parquet",
        parquet_of({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}),
        "unsupported_column",
    ),
    "a zip cut in half": ("a.zip", zip_of(class_folders())[:-30], "damaged_zip"),
    "a zip without images": ("a.zip", zip_of({"__MACOSX/a": b"", ".DS_Store": b""}), "no_images"),
    "a zip of code": ("a.zip", zip_of({"a/b.py": b"text", "a/c.html": b"<p>"}), "too_many_bad_rows"),
    "a spreadsheet": ("a.xlsx", zip_of({"[Content_Types].xml": b"<x/>", "xl/a.xml": b""}), "unsupported_format"),
    "a Word document": ("a.docx", zip_of({"[Content_Types].xml": b"<x/>", "word/a.xml": b""}), "unsupported_format"),
    "a presentation": ("a.pptx", zip_of({"[Content_Types].xml": b"<x/>", "ppt/a.xml": b""}), "unsupported_format"),
    "an OpenDocument file": ("a.ods", zip_of({"mimetype": b"a", "content.xml": b"<x/>"}), "unsupported_format"),
    "zip slip": ("a.zip", zip_of({"../../evil.png": image()}), "unsafe_zip"),
    "zip slip by root": ("a.zip", zip_of({"/etc/evil.png": image()}), "unsafe_zip"),
    "zip slip by backslash": ("a.zip", zip_of({"a\\..\\..\\evil.png": image()}), "unsafe_zip"),
    "zip slip by drive": ("a.zip", zip_of({"C:evil.png": image()}), "unsafe_zip"),
    "a link in the zip": ("a.zip", zip_of({"a/passwd": b"/etc/passwd"}, link), "unsafe_zip"),
    "an encrypted zip": ("a.zip", encrypted(zip_of(class_folders(2))), "encrypted_zip"),
    "images without folders": ("a.zip", zip_of({f"{n}.png": image() for n in range(3)}), "too_many_bad_rows"),
    "metadata without file_name": (
        "a.zip",
        zip_of({"a.png": image(), "metadata.csv": b"name,label\na.png,1\n"}),
        "no_file_name",
    ),
}

# name -> (file name, content, message of the profile's problem)
PROBLEMS: dict[str, tuple[str, bytes, str]] = {
    "a ragged row": ("a.csv", TEXTS + b"a,b,c\n", "3 cells where the header has 2"),
    "a stray quote": ("a.csv", TEXTS + b'"a"b,1\n', 'write a quote inside a cell as ""'),
    "NUL in a cell": ("a.csv", TEXTS + b"a\0b,1\n", "holds a NUL character; remove it"),
    "NUL in JSON": ("a.jsonl", GOOD + b'{"text": "a\\u0000b", "label": 1}\n', "holds a NUL character; remove it"),
    "half a surrogate": ("a.jsonl", GOOD + b'{"text": "\\ud800"}\n', "half a surrogate pair"),
    "an empty row": ("a.csv", TEXTS + b",\n", "has no value in any column"),
    "NaN labels": ("a.csv", TEXTS + b"a,nan\nb,NaN\n", "in a column of numbers; the cell counts as empty"),
    "NaN in JSON": ("a.jsonl", GOOD + b'{"text": "a", "label": NaN}\n', "NaN is not a JSON value; use null"),
    "Infinity in JSON": ("a.jsonl", GOOD + b'{"text": "a", "label": -1e999}\n', "not finite; use null"),
    "NaN in Parquet": ("a.parquet", parquet_of({"x": [1.0, float("nan")]}), "not a number; the cell counts as empty"),
    "nested JSON": ("a.jsonl", GOOD + b'{"text": {"a": 1}}\n', "holds an object; use text"),
    "null in a list": ("a.jsonl", GOOD + b'{"tokens": ["a", null]}\n', "use a list of texts or numbers"),
    "a name twice": ("a.jsonl", GOOD + b'{"text": "a", "text": "b"}\n', "the name 'text' is repeated"),
    "a huge number": ("a.jsonl", GOOD + b'{"label": 99999999999999999999}\n', "too large; write it as text"),
    "a number of 5,000 digits": ("a.jsonl", GOOD + b'{"label": ' + b"9" * 5_000 + b"}\n", "is not valid JSON"),
    "an empty name": ("a.jsonl", GOOD + b'{"": 1}\n', "not a valid column name"),
    "a tool right after the user": ("a.jsonl", json_lines(*CHATS, chat("user", "tool", "assistant")), "must follow"),
    "a system message late": ("a.jsonl", json_lines(*CHATS, chat("user", "system", "assistant")), "must come first"),
    "an unknown role": ("a.jsonl", json_lines(*CHATS, chat("robot", "assistant")), "has the role 'robot'; use system"),
    "no answer": ("a.jsonl", json_lines(*CHATS, chat("user")), "the assistant never answers"),
    "content in parts": (
        "a.jsonl",
        json_lines(*CHATS, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        "content that is not text",
    ),
    "a ragged line of CoNLL": (
        "a.conll",
        b"a O\nb O\n\n" * 20 + b"a O\nb B-X O\n\n",
        "3 columns where the first line has 2",
    ),
    "a span outside": (
        "a.jsonl",
        json_lines(*[{"text": "Peter", "spans": [[0, 5, "PER"]]}] * 20, {"text": "a", "spans": [[0, 9, "PER"]]}),
        "a span from 0 to 9, outside its text",
    ),
    "a text as image": (
        "a.zip",
        zip_of({**class_folders(), "pets/cat/x.png": b"no image"}),
        "is not a supported image",
    ),
    "an image cut in half": (
        "a.zip",
        zip_of({**class_folders(), "pets/cat/x.jpg": image("JPEG", (64, 64))[:-200]}),
        "is damaged or cut off",
    ),
    "an image of 10^10 pixels": (
        "a.zip",
        zip_of({**class_folders(), "pets/cat/x.png": png_that_claims(100_000, 100_000)}),
        "pixels; make it smaller",
    ),
    "an SVG": ("a.zip", zip_of({**class_folders(), "pets/cat/x.svg": b"<svg/>"}), "is not a supported image"),
    "an image in no folder": ("a.zip", zip_of({**class_folders(), "x.png": image()}), "lies in no folder"),
    "an image not in metadata": (
        "a.zip",
        zip_of(
            {f"{n}.png": image() for n in range(21)}
            | {"metadata.jsonl": json_lines(*({"file_name": f"{n}.png", "label": "a"} for n in range(20)))}
        ),
        "is not named in the metadata",
    ),
    "metadata of no image": (
        "a.zip",
        zip_of(
            {f"{n}.png": image() for n in range(20)}
            | {"metadata.csv": csv_of(*(f"{n}.png,a" for n in range(20)), "../x.png,b", header="file_name,label")}
        ),
        "which is not in the zip",
    ),
}
