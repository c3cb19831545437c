"""Reader of COCO's annotations: the category of each image. Boxes and masks are not learned."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from service.datasets.rows import Row, refuse

PARTS = ("images", "annotations", "categories")
SHOWN = 3  # categories in a message


def read_coco(content: bytes) -> dict[str, Any] | None:
    """Parse annotations; return None where the content is other JSON."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_coco = isinstance(document, dict) and all(isinstance(document.get(part), list) for part in PARTS)
    return document if is_coco else None


def labels_of(document: Mapping[str, Any], table: PurePosixPath, paths: Collection[str]) -> dict[str, Row]:
    """Map the path of each annotated image to a row of its label.

    Args:
        document: annotations, as `read_coco` returns them.
        table: path of their file, beside or above which the images lie.
        paths: of the archive's images.

    Raises:
        InvalidRequest: an entry is incomplete, or an image has several categories.
    """
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    try:
        names = {entry["id"]: str(entry["name"]) for entry in document["categories"]}
        files = {entry["id"]: str(entry["file_name"]) for entry in document["images"]}
        found: dict[Any, set[str]] = {}
        for entry in document["annotations"]:
            found.setdefault(entry["image_id"], set()).add(names[entry["category_id"]])
        annotated = [(files[image], sorted(labels)) for image, labels in found.items()]
    except (KeyError, TypeError) as error:
        raise refuse(
            "damaged_coco",
            f"{table} looks like COCO, but an entry lacks or names no {str(error)[:100]}. Export it again.",
        ) from error
    rows: dict[str, Row] = {}
    for name, labels in annotated:
        _check_one(table, name, labels)
        beside = str(table.parent / name)
        same_name = by_name.get(PurePosixPath(name).name, [])
        if beside in paths:
            rows[beside] = {"label": labels[0]}
        elif len(same_name) == 1:
            rows[same_name[0]] = {"label": labels[0]}
    return rows


def _check_one(table: PurePosixPath, name: str, labels: list[str]) -> None:
    if len(labels) > 1:
        shown = ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
        raise refuse(
            "several_categories",
            f"{table} gives {name[:100]!r} several categories ({shown}), but COCO's annotations are read as one class "
            "for each image, and boxes are not learned. Cut the image into one for each box, keep the images of one "
            "category, or name all categories in a metadata.csv of file_name and labels, to learn which an image has.",
        )
