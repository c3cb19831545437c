"""Exports of Label Studio: JSON (tasks with annotations) and JSON_MIN (one object a task)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from service.datasets.dialects.dialect import Dialect, Misread
from service.datasets.rows import Notice, Row, counted, refuse

ANNOTATIONS = ("annotations", "completions")
BOOKKEEPING = frozenset(
    {"annotation_id", "annotator", "created_at", "updated_at", "lead_time", "inner_id", "total_annotations"}
)
MEDIA = ("image", "img", "audio", "video")
SAID = {
    "more_annotations": "have several annotations, of which the first is read",
    "cancelled_annotations": "have annotations that were cancelled; they are not read",
    "predictions": "have predictions of a model; they are not read",
    "unlabelled": "have no annotation: their label is empty",
}


class LabelStudio(Dialect):
    """Brings the data of a task and its first valid annotation into one row."""

    def __init__(self, is_full: bool, are_several: bool) -> None:
        """Read one export.

        Args:
            is_full: whether it is JSON, not JSON_MIN.
            are_several: whether a task of the first rows has several choices, so that choices are lists.
        """
        self._is_full, self._are_several = is_full, are_several
        self._counts: Counter[str] = Counter()

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        """Return the export's kind.

        Raises:
            InvalidRequest: the tasks are of images or sounds, which an export does not hold.
        """
        is_full = bool(rows) and all(
            isinstance(row.get("data"), dict) and _annotations(row) is not None for row in rows
        )
        is_min = bool(rows) and all("annotation_id" in row and "lead_time" in row for row in rows)
        if not is_full and not is_min:
            return None
        for row in rows:
            _refuse_media(row["data"] if is_full else row)
        choices = [found for row in rows for found in (_choices_of_task(row) if is_full else _choices_of_row(row))]
        return cls(is_full, any(len(found) > 1 for found in choices))

    def read(self, values: Row) -> Row:
        return self._of_task(values) if self._is_full else self._of_row(values)

    def notices(self) -> Iterator[Notice]:
        form = "JSON" if self._is_full else "JSON_MIN"
        yield Notice("label_studio", None, f"The file is an export of Label Studio ({form}): a task is a row.")
        for code, what in SAID.items():
            if count := self._counts[code]:
                yield Notice(code, None, f"{counted(count, 'task')} {what}.")

    def _of_row(self, values: Row) -> Row:
        kept = {name: value for name, value in values.items() if name not in BOOKKEEPING}
        for name, value in kept.items():
            if isinstance(value, dict) and isinstance(value.get("choices"), list):
                kept[name] = self._label(value["choices"])
        return kept

    def _of_task(self, values: Row) -> Row:
        data, annotations = values.get("data"), _annotations(values)
        if not isinstance(data, dict) or annotations is None:
            raise Misread("has no data with annotations, as other tasks have")
        valid = [found for found in annotations if not found.get("was_cancelled")]
        self._counts["more_annotations"] += len(valid) > 1
        self._counts["cancelled_annotations"] += len(valid) < len(annotations)
        self._counts["predictions"] += bool(values.get("predictions"))
        results = _results(valid[0]) if valid else []
        self._counts["unlabelled"] += not results
        row: Row = (
            {name: part for name, part in data.items() if name not in ("label", "spans")} if results else {**data}
        )
        for result in results:
            self._read_result(row, result)
        return row

    def _read_result(self, row: Row, result: Row) -> None:
        value = result["value"]
        if isinstance(value.get("choices"), list):
            name = "label" if result.get("from_name") in (None, "label") else str(result["from_name"])
            row[name] = self._label(value["choices"])
        elif isinstance(value.get("labels"), list) and "start" in value:
            row.setdefault("spans", []).append({name: value.get(name) for name in ("start", "end", "labels")})
        elif any(name in value for name in ("rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels")):
            raise Misread("has areas of an image, which no task trains on")

    def _label(self, choices: list[Any]) -> Any:
        if self._are_several:
            return choices
        if len(choices) > 1:
            raise Misread("has several choices where the first rows have one; move such a task to the beginning")
        return choices[0] if choices else None


def _annotations(row: Row) -> list[dict[str, Any]] | None:
    found = next((row[name] for name in ANNOTATIONS if isinstance(row.get(name), list)), None)
    return found if found is not None and all(isinstance(entry, dict) for entry in found) else None


def _results(annotation: dict[str, Any]) -> list[dict[str, Any]]:
    found = annotation.get("result")
    results = found if isinstance(found, list) else []
    return [entry for entry in results if isinstance(entry, dict) and isinstance(entry.get("value"), dict)]


def _choices_of_task(row: Row) -> Iterator[list[Any]]:
    for annotation in _annotations(row) or []:
        for result in _results(annotation):
            if isinstance(choices := result["value"].get("choices"), list):
                yield choices


def _choices_of_row(row: Row) -> Iterator[list[Any]]:
    for value in row.values():
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            yield value["choices"]


def _refuse_media(data: Row) -> None:
    kind = next((name for name in MEDIA if isinstance(data.get(name), str)), None)
    if kind is not None and not isinstance(data.get("text"), str):
        raise refuse(
            "media_not_in_file",
            f"This export of Label Studio labels files by their address (column '{kind}'), which it does not hold. For "
            "images, pack them into a zip with a metadata.csv of file_name and label.",
        )
