"""Archives of data files: parts that are one data set, splits that are several, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from service.datasets.convert import SPLITS
from service.shared.errors import ServiceError
from tests.service.datasets.corpus import coco_of, csv_of, image, json_lines, parquet_of, zip_of
from tests.service.datasets.test_corpus import read
from tests.service.support import Service

ROWS = csv_of(*(f"text {n},{n % 2}" for n in range(20)))
EVAL = csv_of(*(f"other {n},{n % 2}" for n in range(6)))


def tar_of(members: Mapping[str, bytes], mode: str = "w:gz", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def arrow_of(columns: Mapping[str, Any]) -> bytes:
    sink = io.BytesIO()
    table = pa.table(dict(columns))
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


SAVED = {  # as `save_to_disk` writes a DatasetDict
    "d/dataset_dict.json": b'{"splits": ["train", "test"]}',
    **{f"d/{split}/{name}.json": b"{}" for split in ("train", "test") for name in ("dataset_info", "state")},
    "d/train/data-00000-of-00002.arrow": arrow_of({"text": ["a", "b"], "label": [0, 1]}),
    "d/train/data-00001-of-00002.arrow": arrow_of({"text": ["c", "d"], "label": [0, 1]}),
    "d/test/data-00000-of-00001.arrow": arrow_of({"text": ["e"], "label": [0]}),
}


@pytest.mark.parametrize(
    ("members", "splits"),
    [
        ({"train.csv": ROWS, "validation.csv": EVAL, "test.csv": EVAL}, {"train": 20, "eval": 6, "test": 6}),
        ({"data/train.csv.gz": gzip.compress(ROWS, mtime=0), "data/dev.csv": EVAL}, {"train": 20, "eval": 6}),
        (SAVED, {"train": 4, "test": 1}),
        (
            {"data/train-00000-of-00001.parquet": parquet_of({"text": ["a", "b"]}), "data/extra.csv": csv_of("a,b")},
            {"train": 2, "extra": 1},
        ),
        (
            {f"{s}/{c}/{n}.png": image(color=(n, 9, 9)) for s in ("train", "val") for c in ("a", "b") for n in (1, 2)},
            {"train": 4, "eval": 4},
        ),
    ],
    ids=["files", "packed", "save_to_disk", "another name", "images"],
)
@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar.gz"])
def test_splits_are_data_sets_of_their_own(
    members: dict[str, bytes], splits: dict[str, int], pack: Any, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").touch()  # `read` looks at what is not split
    result, _ = read(tmp_path, "data.zip", pack(members))
    assert {name: one["rows"] for name, one in result["splits"].items()} == splits
    assert list(result["splits"]) == list(splits)
    for number, one in enumerate(result["splits"].values()):
        kept = (tmp_path / SPLITS / str(number) / "rows.jsonl").read_text().splitlines()
        assert len(kept) == one["rows"]
    said = {n["code"]: n["message"] for n in result["splits"]["train"]["profile"]["notices"]}
    assert f"{len(splits)} data sets" in said["splits"]


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda members: tar_of(members, "w")], ids=["zip", "tar.gz", "tar"])
def test_parts_without_splits_are_one_data_set(pack: Any, tmp_path: Path) -> None:
    parts = {f"rows-0000{n}-of-00002.jsonl": json_lines(*({"text": f"{n} {i}"} for i in range(5))) for n in range(2)}
    about = {"README.md": b"# Rows", "dataset_info.json": b"{}", "__MACOSX/x.csv": b"", ".hidden.csv": b"a"}
    result, rows = read(tmp_path, "data.zip", pack(parts | about))
    assert [row["text"] for row in rows] == [f"{n} {i}" for n in range(2) for i in range(5)]
    (said,) = [n["message"] for n in result["profile"]["notices"] if n["code"] == "files_passed_over"]
    assert "'README.md'" in said
    assert "hidden" not in said


def test_texts_in_an_archive_are_rows_where_there_is_nothing_else(tmp_path: Path) -> None:
    result, rows = read(tmp_path, "a.zip", zip_of({"README.md": b"# x", "a.txt": b"One.\nTwo.\n", "b.txt": b"Three."}))
    assert [row["text"] for row in rows] == ["One.", "Two.", "Three."]
    assert result["format"] == "text"


def test_a_problem_names_its_file(tmp_path: Path) -> None:
    good = csv_of(*(f"text {n},{n % 2}" for n in range(20)))
    result, _ = read(tmp_path, "a.zip", zip_of({"a.csv": good, "b.csv": good + b"too,many,cells\n"}))
    (problem,) = result["profile"]["problems"]
    assert problem["file"] == "row 21 of b.csv"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (zip_of({"a.csv": ROWS, "b.csv": csv_of("1,2", header="x,y")}), "several_tables"),
        (zip_of({"a.csv": ROWS, "b.jsonl": json_lines({"text": "a"})}), "several_formats"),
        (zip_of({"a.zip": zip_of({"a.csv": ROWS})}), "archive_in_archive"),
        (zip_of({"a.csv": zip_of({"a.csv": ROWS})}), "archive_in_archive"),
        (zip_of({"a.csv.gz": gzip.compress(tar_of({"a.csv": ROWS}, "w"), mtime=0)}), "archive_in_archive"),
        (tar_of({"../a.csv": ROWS}), "unsafe_zip"),
        (tar_of({"a.csv": b""}, kind=tarfile.SYMTYPE), "unsafe_zip"),
        (tar_of({"a.csv": b""}, kind=tarfile.CHRTYPE), "unsafe_zip"),
        (tar_of({"a.csv": ROWS}, "w")[:700], "damaged_tar"),
        (zip_of({"train/a.csv": ROWS, "test/a.csv": b"\x00\x01"}), "no_header"),
    ],
    ids=[*("tables", "formats", "zip", "hidden zip", "hidden tar", "parent", "link", "device", "cut off", "a split")],
)
def test_archives_that_are_refused(content: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, "a.zip", content)
    assert caught.value.code == code, caught.value.message
    assert caught.value.status == 422


@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar.gz"])
def test_an_archive_may_not_unpack_to_more_than_is_accepted(pack: Any, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read(tmp_path, "a.zip", pack({"a.csv": b"text\n" + b"a" * 3_000_000}), limit=1_000_000)
    assert (caught.value.code, caught.value.status) == ("unpacks_too_large", 413)


# --- through the service ----------------------------------------------------------------------------------------------


def test_a_job_takes_the_splits_that_it_leaves_out(any_service: Service) -> None:
    content = zip_of({"train.csv": ROWS, "validation.csv": EVAL, "test.csv": EVAL.replace(b"other", b"last")})
    train = any_service.upload(content, "films.zip")
    splits = train["splits"]
    assert list(splits) == ["train", "eval", "test"]
    assert splits["train"] == train["id"]
    assert train["suggestion"]["dataset"] == {"text": "text", "label": "label"} | {
        s: splits[s] for s in ("eval", "test")
    }
    plan = any_service.client.post("/jobs?dry_run=true", json=any_service.spec(dataset={"train": train["id"]})).json()
    assert {name: plan["spec"]["dataset"][name] for name in splits} == splits
    assert {"dataset.eval", "dataset.test"} <= set(plan["suggested"])
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"], plan["test_rows"]) == (20, 6, 6)
    own = any_service.spec(dataset={"train": train["id"], "eval_fraction": 0.2})
    block = any_service.client.post("/jobs?dry_run=true", json=own).json()["spec"]["dataset"]
    assert (block["eval"], block["test"]) == (None, splits["test"])
    other = any_service.client.get(f"/datasets/{splits['eval']}").json()
    assert (other["name"], other["splits"]) == ("films.zip eval", splits)
    assert other["suggestion"]["dataset"] == {"text": "text", "label": "label"}


def test_a_split_is_kept_while_a_job_uses_it_and_forgotten_with_it(service: Service) -> None:
    content = zip_of({"train.csv": ROWS, "validation.csv": EVAL})
    files = {"file": ("films.zip", content)}
    train = service.client.post("/datasets", files=files).json()
    job = service.submit(dataset={"train": train["id"]})
    refused = service.client.delete(f"/datasets/{train['splits']['eval']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "dataset_in_use")
    service.client.post(f"/jobs/{job['id']}/cancel")
    assert service.client.post("/datasets", files=files).json()["id"] == train["id"]
    assert service.client.delete(f"/datasets/{train['splits']['eval']}").status_code == 204
    assert service.client.get(f"/datasets/{train['id']}").json()["splits"] == {"train": train["id"]}
    again = service.client.post("/datasets", files=files)
    assert (again.status_code, set(again.json()["splits"])) == (201, {"train", "eval"})


def test_nothing_is_stored_of_an_archive_with_a_broken_split(service: Service) -> None:
    content = zip_of({"train.csv": ROWS, "test.csv": b"text,label\n" + b"a,b,c\n" * 5})
    answer = service.client.post("/datasets", files={"file": ("films.zip", content)})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("Split test: ")
    assert list(service.settings.files.datasets.iterdir()) == []
    assert json.loads(service.client.get("/datasets").text)["data"] == []


@pytest.mark.parametrize(
    "members",
    [
        {
            "README.roboflow.txt": b"about",
            **{f"{s}/{n}.png": image(color=(n, 9, 9)) for s in ("train", "valid") for n in (1, 2)},
            **{f"{s}/_annotations.coco.json": coco_of("1.png", "2.png") for s in ("train", "valid")},
        },
        {
            **{f"{s}2017/{s}{n}.png": image(color=(n, 9, 9)) for s in ("train", "val") for n in (1, 2)},
            **{f"annotations/instances_{s}2017.json": coco_of(f"{s}1.png", f"{s}2.png") for s in ("train", "val")},
        },
        {
            **{f"{s}/{n}.png": image(color=(n, 9, 9)) for s in ("train", "val") for n in (1, 2)},
            **{
                f"{s}/metadata.csv": csv_of("1.png,cat", "2.png,dog", header="file_name,label")
                for s in ("train", "val")
            },
        },
    ],
    ids=["beside", "annotations", "metadata"],
)
def test_described_images_lie_in_the_folder_of_their_split(members: dict[str, bytes], tmp_path: Path) -> None:
    """Once, they were all trained on."""
    (tmp_path / "rows.jsonl").touch()
    result, _ = read(tmp_path, "a.zip", zip_of(members))
    assert {name: one["rows"] for name, one in result["splits"].items()} == {"train": 2, "eval": 2}
    labels = [column for column in result["splits"]["eval"]["profile"]["columns"] if column["name"] == "label"]
    assert labels[0]["values"] == {"cat": 1, "dog": 1}
    assert all(one["profile"]["problem_count"] == 0 for one in result["splits"].values())


def test_one_table_for_all_splits_is_one_data_set_and_said(tmp_path: Path) -> None:
    members = {f"{s}/{n}.png": image(color=(n, 9, 9)) for s in ("train", "val") for n in (1, 2)}
    table = csv_of(*(f"{name},cat" for name in members), header="file_name,label")
    result, rows = read(tmp_path, "a.zip", zip_of(members | {"metadata.csv": table}))
    assert len(rows) == 4
    assert any(notice["code"] == "splits_joined" for notice in result["profile"]["notices"])
