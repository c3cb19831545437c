"""Data sets over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import UploadFile as StarletteUploadFile

from service.datasets import hub, preview, row_pages, service
from service.datasets.row_pages import DataRowOut
from service.datasets.schemas import DatasetOut, ExamplesOut, HubDatasetIn, PreviewOut
from service.http.context import CallerDep
from service.http.json_body import is_json, read_json
from service.http.openapi import errors
from service.http.paging import After, Limit, Page

router = APIRouter(prefix="/datasets", tags=["datasets"])

FORM_FIELDS = 8  # of a form that is parsed, for its error to name one

DatasetId = Annotated[str, Path(description="Id of a data set, such as ds_4k7f2m9xq3.", max_length=60)]


async def read_body(request: Request) -> AsyncIterator[UploadFile | HubDatasetIn]:
    """Parse a multipart form with a file, or a JSON body that names a data set on the hub.

    Raises:
        RequestValidationError: the body is neither, or the form has another field.
    """
    if is_json(request):
        yield await read_json(request, HubDatasetIn)
        return
    async with request.form(max_files=1, max_fields=FORM_FIELDS) as form:
        file = form.get("file")
        if not isinstance(file, StarletteUploadFile):
            raise RequestValidationError([{"type": "missing", "loc": ("body", "file"), "msg": "", "input": None}])
        if unknown := next((name for name in form if name != "file"), None):
            problem = {"type": "extra_forbidden", "loc": ("body", unknown), "msg": "", "input": None}
            raise RequestValidationError([problem], body={unknown: None})
        yield UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers)


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "The file."}},
                }
            },
            "application/json": {"schema": HubDatasetIn.model_json_schema()},
        },
    }
}


THERE: dict[int | str, dict[str, Any]] = {
    200: {"model": DatasetOut, "description": "The data set that the project has of this file already."}
}


@router.post("", status_code=201, responses=THERE | errors(400, 413, 422), openapi_extra=BODY)
def upload_dataset(
    caller: CallerDep,
    body: Annotated[UploadFile | HubDatasetIn, Depends(read_body)],
    response: Response,
    new: Annotated[bool, Query(description="Make a data set also where the project has one of the same file.")] = False,
) -> DatasetOut:
    """Upload a file: CSV or TSV with a header line, JSONL (one JSON object a line), a JSON list of objects or an object
    of columns, plain text or Markdown, CoNLL (a word and its tags a line), each in UTF-8 and optionally gzipped; an
    Excel workbook; Parquet or Arrow; or a zip of images, in a folder per class or with a metadata.csv or metadata.jsonl
    that has the columns file_name and label, or with COCO's annotations of one category an image. An archive (zip, tar,
    tar.gz) of such files is a data set for each split that their names tell of: the answer is the one to train on, and
    its `splits` name the others.

    The file is converted at once, in a sandboxed process: unusable rows are left out and listed by number, up to a
    tenth of all; beyond that, the upload is refused.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -F file=@reviews.csv http://127.0.0.1:8642/datasets

    The same file again, read by the same version of the service, is not stored twice: the answer is the data set that
    is there, with status 200.

    As JSON, `{"hub_id": "org/name", "split": "train"}` fetches a data set from the hub, where the operator allows it.
    """
    if isinstance(body, HubDatasetIn):
        dataset = hub.fetch(caller, body)
    else:
        dataset, is_created = service.upload(caller, body.file, body.filename or "upload", is_new=new)
        response.status_code = 201 if is_created else 200
    response.headers["location"] = f"/datasets/{dataset.id}"
    return dataset


@router.get("", responses=errors(422))
def list_datasets(caller: CallerDep, after: After = None, limit: Limit = 20) -> Page[DatasetOut]:
    """List the project's data sets, newest first."""
    return service.list_datasets(caller, after, limit)


@router.get("/{dataset_id}", responses=errors(404, 422))
def get_dataset(caller: CallerDep, dataset_id: DatasetId) -> DatasetOut:
    """Get a data set: its columns, their types and gaps, and the rows left out."""
    return service.show(caller, dataset_id)


@router.get("/{dataset_id}/preview", responses=errors(404, 422))
def preview_dataset(caller: CallerDep, dataset_id: DatasetId) -> PreviewOut:
    """Get the first rows of a data set."""
    return preview.first_rows(caller, dataset_id)


@router.get("/{dataset_id}/rows", responses=errors(404, 422))
def dataset_rows(caller: CallerDep, dataset_id: DatasetId, after: After = None, limit: Limit = 100) -> Page[DataRowOut]:
    """List the stored rows of a data set, in their order, as a job reads them."""
    return row_pages.list_rows(caller, dataset_id, after, limit)


IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The image.", "content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}}}
}


@router.get("/{dataset_id}/images/{name:path}", response_class=Response, responses=IMAGE | errors(404, 422))
def dataset_image(
    caller: CallerDep,
    dataset_id: DatasetId,
    name: Annotated[str, Path(description="The image as its row names it, such as cats/1.png.", max_length=1_000)],
) -> Response:
    """Get an image of a data set, upright as models see it."""
    return preview.image(caller, dataset_id, name)


@router.post("/{dataset_id}/preview", responses=errors(400, 404, 422))
def preview_examples(
    caller: CallerDep,
    dataset_id: DatasetId,
    body: Annotated[
        dict[str, Any] | None,
        Body(
            description="A job spec; name and dataset.train may be left out.",
            examples=[{"task": "text-classification", "base_model": "minilm", "training": {"max_length": 128}}],
        ),
    ] = None,
) -> ExamplesOut:
    """Get the first examples as a job's model will see them: the rendered text, its tokens, the labels mask and the
    truncation."""
    return preview.first_examples(caller, dataset_id, body)


@router.delete("/{dataset_id}", status_code=204, responses=errors(404, 409, 422))
def delete_dataset(caller: CallerDep, dataset_id: DatasetId) -> None:
    """Delete a data set and its rows. Refused while an unfinished job uses it."""
    service.delete(caller, dataset_id)
