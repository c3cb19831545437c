"""Rendering of errors as responses: `{"error": {type, code, message, param}}`. No other module renders errors.

Where several fields are at fault, `also` lists those after the first.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service.http.gate.validation import explain
from service.shared.errors import InvalidRequest, ServiceError

OPENAI = "/v1/"  # begins the paths of OpenAI's API
# Type, code and message of the errors that Starlette and FastAPI raise themselves.
_HTTP = {
    400: ("invalid_request", "malformed_request", "The request could not be read. Check its body and Content-Type."),
    404: ("not_found", "not_found", "No resource exists at this address. /docs lists the routes."),
    405: (
        "invalid_request",
        "method_not_allowed",
        "This address does not support this method. /docs lists the routes.",
    ),
    413: ("too_large", "too_large", "The request is larger than the service accepts."),
}


class BodyRefused(HTTPException):
    """A refusal as an HTTPException, the only error that FastAPI does not replace while it reads a body."""

    def __init__(self, reason: ServiceError, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason.status, headers=headers)
        self.reason = reason


def error_response(error: ServiceError, headers: dict[str, str] | None = None, path: str = "") -> JSONResponse:
    """Render an error with its status and headers.

    Args:
        path: of the request; OpenAI's clients know a wrong field by the status 400.
    """
    status = 400 if error.status == InvalidRequest.status and path.startswith(OPENAI) else error.status
    headers = dict(headers or {})
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    body: dict[str, Any] = {"type": error.type, **_facts(error)}
    if error.also:
        body["also"] = [_facts(further) for further in error.also]
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def _facts(error: ServiceError) -> dict[str, str | None]:
    return {"code": error.code, "message": error.message, "param": error.param}


def internal_error(request_id: str) -> JSONResponse:
    """Render an unexpected error without details; the log has them under the request id."""
    error = ServiceError(
        f"Something went wrong in the service. Its log has the details under request id {request_id}.",
        code="internal_error",
    )
    return error_response(error)


def add_error_handlers(app: FastAPI) -> None:
    """Render the errors of routes and of the framework alike."""

    @app.exception_handler(ServiceError)
    def _known(request: Request, error: ServiceError) -> Response:
        return error_response(error, path=request.url.path)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(explain(error.errors(), error.body, _body_model(request)), path=request.url.path)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, BodyRefused):
            return error_response(error.reason, dict(error.headers or {}), request.url.path)
        family, code, message = _HTTP.get(error.status_code, ("invalid_request", "http_error", str(error.detail)))
        body = {"type": family, "code": code, "message": message, "param": None}
        return JSONResponse({"error": body}, status_code=error.status_code, headers=dict(error.headers or {}))


def _body_model(request: Request) -> type[BaseModel] | None:
    """Return the model of the route's body, if the body is a single model."""
    endpoint = request.scope.get("endpoint")
    hints = {} if endpoint is None else get_type_hints(endpoint)
    models = (kind for name, kind in hints.items() if name != "return" and isinstance(kind, type))
    return next((kind for kind in models if issubclass(kind, BaseModel)), None)
