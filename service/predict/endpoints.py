"""Serve predictions over HTTP."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import StreamingResponse

from service.http.context import CallerDep
from service.http.openapi import errors
from service.jobs.endpoints import JobId
from service.predict import service, writing
from service.predict.schemas import MAX_INPUTS, PieceOut, PredictIn, PredictionsOut
from service.predict.text_stream import stream
from service.registry.schemas import REFERENCE
from service.shared.errors import BadRequest

router = APIRouter(tags=["jobs"])

Reference = Annotated[
    str,
    Path(
        description="A registered model: `name`, `name@label` or `name@version`; the name alone is `name@live`.",
        max_length=130,
        pattern=REFERENCE,
    ),
]

FILES: dict[str, Any] = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "maxItems": MAX_INPUTS,
    "description": "Image files, for a job on images.",
}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """Replace the references of a schema by their targets, as FastAPI lists only the parts of bodies that it reads."""
    if isinstance(schema, list):
        return [_inlined(entry, parts) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _inlined(entry, parts) for name, entry in schema.items() if name != "$defs"}


def _body() -> dict[str, Any]:
    schema = PredictIn.model_json_schema()
    form = {"type": "object", "required": ["file"], "properties": {"file": FILES}}
    content = {
        "application/json": {"schema": _inlined(schema, schema["$defs"])},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


async def read_payload(request: Request) -> PredictIn:
    """Read the body: JSON, or a form with image files.

    Raises:
        RequestValidationError: the body has another shape.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=MAX_INPUTS, max_fields=0) as form:
            files = [entry for entry in form.getlist("file") if isinstance(entry, UploadFile)]
            body: Any = {"inputs": [{"image": base64.b64encode(await file.read()).decode()} for file in files]}
    else:
        try:
            body = await request.json()
        except (ValueError, RecursionError) as error:
            raise BadRequest("The body is not valid JSON.", code="invalid_json") from error
    try:
        return PredictIn.model_validate(body)
    except ValidationError as error:
        problems = [problem | {"loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems, body=body) from error


@router.post("/jobs/{job_id}/predict", openapi_extra=_body(), responses=errors(400, 404, 409, 413, 422, 429, 504))
def predict(caller: CallerDep, job_id: JobId, payload: Annotated[PredictIn, Depends(read_payload)]) -> PredictionsOut:
    """Tries the model of a job that has succeeded on a few inputs: texts, pairs, words, prompts, chats or images.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"inputs": ["A joy.", "A bore."]}' \\
             http://127.0.0.1:8642/jobs/job_.../predict
        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -F file=@cat.png http://127.0.0.1:8642/jobs/job_.../predict
    """
    return service.predict(caller, job_id, payload)


@router.post(
    "/registry/{reference}/predict",
    openapi_extra=_body(),
    responses=errors(400, 404, 409, 413, 422, 429, 504),
    tags=["registry"],
)
def predict_registered(
    caller: CallerDep, reference: Reference, payload: Annotated[PredictIn, Depends(read_payload)]
) -> PredictionsOut:
    """Predicts with a registered model, as `POST /jobs/{id}/predict` does with the model of a job.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"inputs": ["A joy."]}' \\
             http://127.0.0.1:8642/registry/sentiment/predict
    """
    return service.predict_registered(caller, reference, payload)


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events of a text, each `data:` with a JSON object; an error after the first is the last one.",
        "content": {"text/event-stream": {"schema": PieceOut.model_json_schema()}},
    }
}


@router.post(
    "/jobs/{job_id}/predict/stream",
    openapi_extra=_body(),
    responses=STREAMED | errors(400, 404, 409, 413, 422, 429, 504),
    response_class=StreamingResponse,
)
async def predict_stream(
    caller: CallerDep, job_id: JobId, payload: Annotated[PredictIn, Depends(read_payload)]
) -> StreamingResponse:
    """Sends the text that a model writes while it is written, and then, with `with_base`, the text of its base model.
    Takes one input, and options as `POST /jobs/{id}/predict`. Closing the connection stops the model.

        curl -N -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"inputs": ["Once"], "with_base": true}' \\
             http://127.0.0.1:8642/jobs/job_.../predict/stream
    """
    return await stream(await run_sync(writing.begin, caller, job_id, payload))


@router.post(
    "/registry/{reference}/predict/stream",
    openapi_extra=_body(),
    responses=STREAMED | errors(400, 404, 409, 413, 422, 429, 504),
    response_class=StreamingResponse,
    tags=["registry"],
)
async def predict_registered_stream(
    caller: CallerDep, reference: Reference, payload: Annotated[PredictIn, Depends(read_payload)]
) -> StreamingResponse:
    """Sends the text that a registered model writes, as `POST /jobs/{id}/predict/stream` does."""
    return await stream(await run_sync(writing.begin_registered, caller, reference, payload))
