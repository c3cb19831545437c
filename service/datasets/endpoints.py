"""Data sets over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, UploadFile

from service.context import CallerDep
from service.datasets import service
from service.datasets.schemas import DatasetOut, PreviewOut
from service.openapi import errors
from service.paging import After, Limit, Page

router = APIRouter(prefix="/datasets", tags=["datasets"])

DatasetId = Annotated[str, Path(description="Id of a data set, such as ds_4k7f2m9xq3.", max_length=60)]


@router.post("", status_code=201, responses=errors(400, 413, 422))
def upload_dataset(caller: CallerDep, file: UploadFile, response: Response) -> DatasetOut:
    """Uploads a CSV file with a header line, or JSONL (one JSON object a line), in UTF-8.

    The file is read at once: rows that cannot be used are left out and named by number, up to a tenth of all; with
    more, nothing is kept.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -F file=@reviews.csv http://127.0.0.1:8642/datasets
    """
    dataset = service.upload(caller, file.file, file.filename or "upload")
    response.headers["location"] = f"/datasets/{dataset.id}"
    return dataset


@router.get("", responses=errors(422))
def list_datasets(caller: CallerDep, after: After = None, limit: Limit = 20) -> Page[DatasetOut]:
    """The project's data sets, newest first."""
    return service.list_datasets(caller, after, limit)


@router.get("/{dataset_id}", responses=errors(404, 422))
def get_dataset(caller: CallerDep, dataset_id: DatasetId) -> DatasetOut:
    """A data set: its columns, their types and gaps, and the rows that were left out."""
    return service.show(caller, dataset_id)


@router.get("/{dataset_id}/preview", responses=errors(404, 422))
def preview_dataset(caller: CallerDep, dataset_id: DatasetId) -> PreviewOut:
    """The first rows of a data set."""
    return service.preview(caller, dataset_id)


@router.delete("/{dataset_id}", status_code=204, responses=errors(404, 409, 422))
def delete_dataset(caller: CallerDep, dataset_id: DatasetId) -> None:
    """Deletes a data set and its rows. Refused while a job that has not ended uses it."""
    service.delete(caller, dataset_id)
