"""Images with COCO's annotations: one category is the class of an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.shared.errors import ServiceError
from tests.service.datasets.corpus import image, zip_of
from tests.service.datasets.test_corpus import read

NAMES = [f"{number}.png" for number in range(4)]


def document(*pairs: tuple[int, int]) -> dict[str, Any]:
    """Return annotations with a box for each pair of image and category."""
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(NAMES)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": [0, 0, 2, 2]}
            for number, (image, category) in enumerate(pairs)
        ],
    }


def coco(path: str, content: Any, folder: str = "images/") -> bytes:
    return zip_of({path: json.dumps(content).encode(), **{f"{folder}{name}": image() for name in NAMES}})


@pytest.mark.parametrize(
    ("path", "folder"),
    [("annotations/instances.json", "images/"), ("_annotations.coco.json", ""), ("a/labels.json", "a/")],
)
def test_the_category_is_the_label(path: str, folder: str, tmp_path: Path) -> None:
    result, rows = read(tmp_path, "a.zip", coco(path, document((0, 1), (0, 1), (1, 2), (2, 2)), folder))
    assert {row["file_name"]: row["label"] for row in rows} == {
        f"{folder}0.png": "cat",
        f"{folder}1.png": "dog",
        f"{folder}2.png": "dog",
    }
    [notice] = [notice["message"] for notice in result["profile"]["notices"] if notice["code"] == "coco"]
    assert "boxes and masks are not learned" in notice
    assert "1 image without an annotation" in notice


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (document((0, 1), (0, 2), (1, 1)), "gives '0.png' several categories"),
        (document((0, 7)), "an entry lacks or names no 7"),
        (document((0, 1)) | {"images": [{"id": 0, "file_name": "elsewhere.png"}]}, "annotates no image of the zip"),
    ],
)
def test_unusable_annotations_are_refused(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=message):
        read(tmp_path, "a.zip", coco("annotations/instances.json", content))
