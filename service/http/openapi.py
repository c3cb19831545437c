"""Texts and schemas of the OpenAPI document beyond the routes themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict


class Out(BaseModel):
    """Base of response schemas; the docstring under a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class FurtherError(Out):
    """One more field at fault."""

    code: str
    """The exact error, for programs."""
    message: str
    """The fault and its remedy, for people."""
    param: str | None
    """JSON path of the field at fault."""


class ErrorBody(Out):
    """An error, with its remedy."""

    type: str
    """The family: invalid_request, unauthorized, forbidden, not_found, conflict, too_large, too_many_requests,
    unavailable, timeout, server_error."""
    code: str
    """The exact error, for programs; stable when the message is reworded."""
    message: str
    """The fault and its remedy, for people."""
    param: str | None
    """JSON path of the field at fault, such as adamss.final_warmup."""
    also: list[FurtherError] = []
    """Further fields at fault; absent where there are none."""


class ErrorOut(Out):
    """Body of every error."""

    error: ErrorBody


MEANINGS = {
    400: "The request cannot be read, such as a body that is not JSON.",
    401: "The key is missing or not valid.",
    403: "The request comes from another site, is for another host, or needs a key with a higher role.",
    404: "This project has no such resource.",
    408: "The body stopped arriving, or arrived too slowly.",
    409: "The current state does not allow the change.",
    413: "The upload is too large.",
    416: "The range lies outside the file.",
    422: "A field is invalid: `param` names it, `message` says what would be valid; `also` lists further ones.",
    429: "Too many requests at once: `Retry-After` says when to try again.",
    500: "Something went wrong in the service; its log has the details under the request id.",
    503: "The database does not answer, or the disk is full.",
    504: "The request took longer than the service allows.",
}
EVERYWHERE = (400, 401, 403, 408, 429, 500, 503)

TAGS = [
    {"name": "jobs", "description": "Fine-tuning jobs: submit, watch, cancel."},
    {"name": "datasets", "description": "Rows to train and evaluate on."},
    {"name": "models", "description": "Base models that may be fine-tuned."},
    {"name": "sweeps", "description": "The best of many runs of one spec."},
    {"name": "registry", "description": "Trained models under a name: versions, stage labels, predictions."},
    {"name": "artifacts", "description": "Results of a job: adapter, LoRA, merged model."},
    {"name": "openai", "description": "OpenAI's API: files, models, fine-tuning jobs and completions."},
    {"name": "workers", "description": "Workers: what they run, and hosts that rest."},
    {"name": "access", "description": "The audit log."},
    {"name": "health", "description": "For load balancers and monitoring."},
]


_SCHEMA = "#/components/schemas/{model}"


def error(meaning: str) -> dict[str, Any]:
    """Describe an error response, by a reference to the schema of errors: as a model, of which FastAPI builds a field
    for each status of each route, 800 of them would take most of the time of a start."""
    schema = {"$ref": _SCHEMA.format(model=ErrorOut.__name__)}
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error responses of a route, including the common ones."""
    return {status: error(MEANINGS[status]) for status in sorted({*statuses, *EVERYWHERE})}


class DescribedApp(FastAPI):
    """Application whose OpenAPI document has the schema of errors."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = ErrorOut.model_json_schema(ref_template=_SCHEMA)
            named = {**schema.pop("$defs"), ErrorOut.__name__: schema}
            super().openapi()["components"]["schemas"].update(named)
        return super().openapi()


DESCRIPTION = """Fine-tunes transformer models with AdaMSS.

1. `POST /datasets` uploads rows.
2. `POST /jobs?dry_run=true` shows the plan of a job; `POST /jobs` submits it.
3. `GET /jobs/{id}` and `GET /jobs/{id}/metrics` watch it, `GET /jobs/{id}/subspaces` shows the pruned subspaces.
4. `GET /jobs/{id}/artifacts/lora` downloads the result.

Every call but the two health checks needs a key: `Authorization: Bearer adamss_...`. Errors are
`{"error": {"type", "code", "message", "param"}}`; every response carries `x-request-id`. Times are UTC.
"""
