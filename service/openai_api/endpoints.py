"""OpenAI's routes for files and models, under /v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import UploadFile as StarletteUploadFile
from starlette.responses import FileResponse

from service.http.context import CallerDep
from service.http.openapi import error, errors
from service.openai_api import files, tuned_models
from service.openai_api.files import Order
from service.openai_api.schemas import OpenAIDeleted, OpenAIFile, OpenAIModel, OpenAIPage

PREFIX = "/v1"
router = APIRouter(prefix=PREFIX, tags=["openai"])

FORM_FIELDS = 8
FileId = Annotated[str, Path(description="Id of a file, such as ds_4k7f2m9xq3.", max_length=80)]
ModelId = Annotated[str, Path(description="Name of a model, such as ft:tiny:default::job_7m3k9x2pqr.", max_length=400)]
AfterId = Annotated[str | None, Query(max_length=200, description="Id of the last entry of the page before.")]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route; 422, which FastAPI would add, included."""
    unsent = "Not sent: a wrong field has the status 400 here, as OpenAI's clients expect."
    return errors(400, *statuses) | {422: error(unsent)}


class FileForm(NamedTuple):
    """An uploaded form."""

    file: UploadFile
    purpose: str


async def read_form(request: Request) -> AsyncIterator[FileForm]:
    """Parse a multipart form with a file and its purpose.

    Raises:
        RequestValidationError: a part is missing, or another one is there.
    """
    async with request.form(max_files=1, max_fields=FORM_FIELDS) as form:
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, StarletteUploadFile):
            raise _problem("missing", "file")
        if not isinstance(purpose, str):
            raise _problem("missing", "purpose")
        if unknown := next((name for name in form if name not in ("file", "purpose")), None):
            raise _problem("extra_forbidden", unknown)
        yield FileForm(UploadFile(file.file, size=file.size, filename=file.filename, headers=file.headers), purpose)


def _problem(kind: str, name: str) -> RequestValidationError:
    problem = {"type": kind, "loc": ("body", name), "msg": "", "input": None}
    return RequestValidationError([problem], body={name: None})


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A JSONL file of examples."},
                        "purpose": {"type": "string", "description": 'Must be "fine-tune".'},
                    },
                }
            }
        },
    }
}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes.", "content": {"application/jsonl": {}, "text/csv": {}}}
}


@router.post("/files", responses=refusals(413), openapi_extra=BODY)
def create_file(caller: CallerDep, form: Annotated[FileForm, Depends(read_form)]) -> OpenAIFile:
    """Upload a JSONL file of examples, with the purpose `fine-tune`. Every line must be usable; the bytes are kept."""
    return files.create(caller, form.file.file, form.file.filename or "upload.jsonl", form.purpose)


@router.get("/files", responses=refusals())
def list_files(
    caller: CallerDep,
    purpose: Annotated[str | None, Query(max_length=40, description="Only files of this purpose.")] = None,
    after: AfterId = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Largest number of entries.")] = 10_000,
    order: Annotated[Order, Query(description="By time of creation.")] = "desc",
) -> OpenAIPage[OpenAIFile]:
    """List the project's data sets as files; with `purpose=fine-tune-results` the result files of finished jobs."""
    return files.list_files(caller, purpose, after, limit, order)


@router.get("/files/{file_id}", responses=refusals(404))
def retrieve_file(caller: CallerDep, file_id: FileId) -> OpenAIFile:
    """Get a file: its name, size and purpose."""
    return files.retrieve(caller, file_id)


@router.get("/files/{file_id}/content", response_class=Response, responses=CONTENT | refusals(404))
def file_content(caller: CallerDep, file_id: FileId) -> Response:
    """Download a file: the bytes that were uploaded here, the rows of another data set, or a job's numbers as CSV."""
    found, name, media_type = files.content(caller, file_id)
    if isinstance(found, FilePath):
        return FileResponse(found, filename=name, media_type=media_type)
    disposition = f'attachment; filename="{name}"'
    return Response(found, media_type=media_type, headers={"content-disposition": disposition})


@router.delete("/files/{file_id}", responses=refusals(404, 409))
def delete_file(caller: CallerDep, file_id: FileId) -> OpenAIDeleted:
    """Delete a file. Refused while an unfinished job uses it."""
    return files.delete(caller, file_id)


@router.get("/models", responses=refusals())
def list_openai_models(caller: CallerDep) -> OpenAIPage[OpenAIModel]:
    """List base models, names of OpenAI that the operator maps to one, and the models of finished jobs."""
    return tuned_models.list_models(caller)


@router.get("/models/{model:path}", responses=refusals(404))
def retrieve_model(caller: CallerDep, model: ModelId) -> OpenAIModel:
    """Get a model by its name."""
    return tuned_models.retrieve(caller, model)


@router.delete("/models/{model:path}", responses=refusals(404, 409))
def delete_model(caller: CallerDep, model: ModelId) -> OpenAIDeleted:
    """Remove a trained model's artifacts. Its job stays, with its metrics and checkpoints."""
    return tuned_models.delete(caller, model)
