"""Images under their own names, from zips and from Parquet and Arrow files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from service.datasets.convert import IMAGES
from service.shared.errors import ServiceError
from tests.service.datasets.corpus import image, parquet_of, zip_of
from tests.service.datasets.test_corpus import read
from tests.service.support import Service

RED, BLUE = image(color=(250, 0, 0)), image("JPEG", color=(0, 0, 250))


def test_images_keep_their_own_names(tmp_path: Path) -> None:
    members = {
        "pets/cat/my cat.png": RED,
        "pets/cat/my cat.bmp": image("BMP"),  # stored as PNG, whose name is taken
        "pets/dog/Ärger.jpg": BLUE,
        f"pets/dog/{'x' * 250}.png": RED,
    }
    _, rows = read(tmp_path, "pets.zip", zip_of(members))
    names = {row["file_name"]: row["image"] for row in rows}
    assert names["pets/dog/Ärger.jpg"] == "pets/dog/Ärger.jpg"
    assert {names[f"pets/cat/my cat.{end}"] for end in ("png", "bmp")} == {
        "pets/cat/my cat.png",
        "pets/cat/my cat-0000002.png",
    }
    assert names[f"pets/dog/{'x' * 250}.png"] == "0000003.png"
    assert all((tmp_path / IMAGES / name).is_file() for name in names.values())


def columns(kind: str) -> dict[str, Any]:
    contents = [RED, BLUE, image("WEBP")]
    if kind == "struct":
        paths = ["a/red.png", "../blue.jpg", None]
        images = pa.array([{"bytes": content, "path": path} for content, path in zip(contents, paths, strict=True)])
    else:
        images = pa.array(contents, pa.binary())
    return {"img": images, "label": pa.array([0, 1, 0])}


@pytest.mark.parametrize("kind", ["struct", "bytes"])
@pytest.mark.parametrize("container", ["parquet", "arrow", "zip"])
def test_images_in_columns_are_a_data_set_of_images(kind: str, container: str, tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    table = pa.table(columns(kind)).replace_schema_metadata({"huggingface": json.dumps(features)})
    content = parquet_of({})
    buffer = io.BytesIO()
    if container == "arrow":
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
        content = buffer.getvalue()
    else:
        pa.parquet.write_table(table, buffer)
        content = buffer.getvalue() if container == "parquet" else zip_of({"data/train.parquet": buffer.getvalue()})
    result, rows = read(tmp_path, f"pets.{container}", content)
    assert result["format"] == "images"
    assert [row["label"] for row in rows] == ["cat", "dog", "cat"]
    expected = ["a/red.png", "0000002.jpg", "0000003.webp"] if kind == "struct" else None
    assert [row["image"] for row in rows] == (expected or ["0000001.png", "0000002.jpg", "0000003.webp"])
    assert rows[0].get("file_name") == ("a/red.png" if kind == "struct" else None)
    with Image.open(tmp_path / IMAGES / rows[1]["image"]) as stored:
        assert stored.convert("RGB").getpixel((2, 2))[2] > 200  # type: ignore[index]
    assert any("column 'img'" in notice["message"] for notice in result["profile"]["notices"])


def test_rows_without_an_image_are_listed_and_two_columns_of_images_refused(tmp_path: Path) -> None:
    images = pa.array([{"bytes": RED, "path": None}] * 19 + [{"bytes": None, "path": "a.png"}])
    result, rows = read(tmp_path, "a.parquet", parquet_of({"image": images, "label": ["a", "b"] * 10}))
    assert len(rows) == 19
    assert "has no bytes of an image" in result["profile"]["problems"][0]["message"]
    with pytest.raises(ServiceError, match="'one', 'two' hold images"):
        read(tmp_path / "other", "a.parquet", parquet_of({"one": images, "two": images}))


@pytest.mark.parametrize(("mode", "stored"), [("RGB", "RGB"), ("I;16", "I;16"), ("I;16B", "I;16"), ("CMYK", "RGB")])
def test_tiff_is_stored_as_png(mode: str, stored: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("I" if mode == "I;16B" else mode, (8, 6), 300 if "I" in mode else (200, 30, 30, 0)[: len(mode)]).convert(
        mode
    ).save(buffer, "TIFF")
    _, rows = read(tmp_path, "a.zip", zip_of({f"{name}/x.tiff": buffer.getvalue() for name in ("a", "b")}))
    with Image.open(tmp_path / IMAGES / rows[0]["image"]) as kept:
        assert (kept.format, kept.mode, rows[0]["image"]) == ("PNG", stored, "a/x.png")
        if stored == "I;16":
            assert kept.getpixel((0, 0)) == 300


def test_decimal_numbers_as_an_image_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("F", (8, 6), 0.5).save(buffer, "TIFF")
    with pytest.raises(ServiceError, match="holds decimal numbers"):
        read(tmp_path, "a.zip", zip_of({"a/x.tiff": buffer.getvalue()}))


def test_an_image_is_served_by_the_name_that_its_row_has(service: Service) -> None:
    """And nothing else of the disk."""
    dataset = service.upload(zip_of({"pets/my cat/1.png": RED, "pets/dog/1.jpg": BLUE}), "pets.zip")["id"]
    for row in service.client.get(f"/datasets/{dataset}/rows").json()["data"]:
        answer = service.client.get(f"/datasets/{dataset}/images/{row['values']['image']}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("image/")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.content in (RED, BLUE)
    for name in ("pets/dog/2.jpg", "..%2F..%2Fapi_key", "%2Fetc%2Fpasswd", f"..%2F{dataset}.jsonl", "pets", "a%00.png"):
        missing = service.client.get(f"/datasets/{dataset}/images/{name}")
        assert missing.status_code in (404, 422), name
    others = {"authorization": f"Bearer {service.key_for('other')}"}
    assert service.client.get(f"/datasets/{dataset}/images/pets/dog/1.jpg", headers=others).status_code == 404


@pytest.mark.parametrize(
    ("folders", "is_said"), [(("dog/b", "cat/a", "cat/b", "dog/a"), True), (("x/cat", "x/dog"), False)]
)
def test_folders_in_folders_are_said(folders: tuple[str, ...], is_said: bool, tmp_path: Path) -> None:
    files = {f"animals/{folders[n % len(folders)]}/{n}.png": image(color=(n, 2 * n, 9)) for n in range(12)}
    said = {
        notice["code"]: notice["message"] for notice in read(tmp_path, "a.zip", zip_of(files))[0]["profile"]["notices"]
    }
    assert ("nested_folders" in said) is is_said
    assert not is_said or "the innermost folder is the class, there '" in said["nested_folders"]
