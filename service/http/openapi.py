"""What the interactive docs need beyond the routes themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class ErrorBody(BaseModel):
    """What went wrong, and what to do."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """The family: invalid_request, unauthorized, forbidden, not_found, conflict, too_large, too_many_requests,
    unavailable, timeout, server_error."""
    code: str
    """The exact error, for programs; it stays the same when the message is reworded."""
    message: str
    """What is wrong and what would be right, for people."""
    param: str | None
    """JSON path of the field at fault, such as adamss.final_warmup."""


class ErrorOut(BaseModel):
    """Every error has this shape."""

    error: ErrorBody


MEANINGS = {
    400: "The request cannot be read, such as a body that is not JSON.",
    401: "The key is missing or not valid.",
    403: "The request comes from another site, is for another host, or needs a key with a higher role.",
    404: "There is no such thing in this project.",
    409: "The state forbids it.",
    413: "The upload is too large.",
    416: "The range lies outside the file.",
    422: "A field is wrong: `param` names it, `message` says what would be right.",
    429: "Too much is asked at once: `Retry-After` says when to try again.",
    500: "Something went wrong in the service; its log has the details under the request id.",
    503: "The database does not answer, or the disk is full.",
    504: "It took longer than the service allows.",
}
EVERYWHERE = (400, 401, 403, 429, 500, 503)

TAGS = [
    {"name": "jobs", "description": "Fine-tuning jobs: submit, watch, cancel."},
    {"name": "datasets", "description": "Rows to train and evaluate on."},
    {"name": "models", "description": "Base models that may be fine-tuned."},
    {"name": "artifacts", "description": "What a job leaves behind: adapter, LoRA, merged model."},
    {"name": "access", "description": "Who did what."},
    {"name": "health", "description": "For load balancers and monitoring."},
]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, besides those that every route may give."""
    return {status: {"model": ErrorOut, "description": MEANINGS[status]} for status in sorted({*statuses, *EVERYWHERE})}


DESCRIPTION = """Fine-tunes transformer models with AdaMSS.

1. `POST /datasets` uploads rows.
2. `POST /jobs?dry_run=true` says what a job would do; `POST /jobs` submits it.
3. `GET /jobs/{id}` and `GET /jobs/{id}/metrics` watch it, `GET /jobs/{id}/subspaces` shows what is pruned.
4. `GET /jobs/{id}/artifacts/lora` downloads the result.

Every call but the two health checks needs a key: `Authorization: Bearer adamss_...`. Errors are
`{"error": {"type", "code", "message", "param"}}`; every answer carries `x-request-id`. Times are UTC.
"""
