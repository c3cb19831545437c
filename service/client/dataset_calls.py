"""Calls on data sets, spectra, workers, and what jobs may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from service.client.model_types import SpectrumJson
from service.client.sender import PAGE, UPLOAD_TIMEOUT, Sender
from service.client.types import DatasetJson, Listing

ALL_ROWS = 10_000_000


class DatasetCalls(Sender):
    """Data sets and what is measured on them, and workers."""

    def upload_dataset(self, path: str | Path, name: str | None = None, *, new: bool = False) -> DatasetJson:
        """Upload a table, a text or a zip of images, under its own name or `name`.

        Args:
            new: make a data set also where the project has one of the same file; otherwise that one is returned, with
                `created` false.
        """
        path = Path(path)
        query = {"new": "true"} if new else None
        with path.open("rb") as file:
            files = {"file": (name or path.name, file)}
            response = self._send("POST", "/datasets", params=query, files=files, timeout=UPLOAD_TIMEOUT)
        return cast(DatasetJson, response.json() | {"created": response.status_code == httpx.codes.CREATED})

    def hub_dataset(self, hub_id: str, split: str = "train", **options: str) -> DatasetJson:
        """Let the service fetch a split from the hub; options: revision, config."""
        body = {"hub_id": hub_id, "split": split, **options}
        return cast(DatasetJson, self._send("POST", "/datasets", json=body, timeout=UPLOAD_TIMEOUT).json())

    def datasets(self, limit: int = 100) -> Listing[DatasetJson]:
        """List data sets, newest first."""
        return self._listing("/datasets", {}, limit)

    def dataset(self, dataset: str) -> DatasetJson:
        return cast(DatasetJson, self._get(f"/datasets/{dataset}"))

    def preview(self, dataset: str, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the first rows of a data set; with a spec, encoded as for the job's model."""
        path = f"/datasets/{dataset}/preview"
        if spec is None:
            return cast(dict[str, Any], self._get(path))
        return cast(dict[str, Any], self._send("POST", path, json=dict(spec), repeat=True).json())

    def rows(self, dataset: str) -> Iterator[dict[str, Any]]:
        """Yield the stored rows of a data set, column -> value."""
        for row in self._pages(f"/datasets/{dataset}/rows", {}, ALL_ROWS):
            yield row["values"]

    def delete_dataset(self, dataset: str) -> None:
        self._send("DELETE", f"/datasets/{dataset}")

    def spectrum(self, model: str, dataset: str | None = None) -> SpectrumJson:
        """Get the spectrum of a model's weights, or the newest that was measured on a data set; its status may be
        "measuring": ask again."""
        query = {} if dataset is None else {"dataset": dataset}
        return cast(SpectrumJson, self._send("GET", _spectrum_of(model), params=query).json())

    def measure_spectrum(
        self, model: str, dataset: dict[str, Any], *, task: str | None = None, problem_type: str | None = None
    ) -> SpectrumJson:
        """Get the spectrum of a model on a data set, or queue the job that measures it: `wait` for it, and ask again.

        Args:
            dataset: as a job's: `train`, and columns where the suggestion is not meant.
        """
        given = {"task": task, "problem_type": problem_type}
        body = {"dataset": dataset} | {name: value for name, value in given.items() if value is not None}
        answer = self._send("POST", _spectrum_of(model), json=body, repeat=True)  # measures nothing twice
        return cast(SpectrumJson, answer.json())

    def tasks(self) -> list[dict[str, Any]]:
        """List the tasks and their variants, with fields, metrics, inputs and parts of an answer."""
        return list(self._pages("/tasks", {}, PAGE))


def _spectrum_of(model: str) -> str:
    return f"/models/{quote(model)}/spectrum"
