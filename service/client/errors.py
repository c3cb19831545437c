"""Errors that the client raises."""

from __future__ import annotations

import httpx


class ApiError(Exception):
    """What the service answered instead.

    Attributes:
        status: HTTP status; 0 where no answer came.
        code: stable name of the error.
        param: JSON path of the field at fault, such as `dataset.train`.
        request_id: to find the request in the service's log.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str = "error", param: str | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param, self.request_id = message, status, code, param, request_id

    def __str__(self) -> str:
        return f"{self.param}: {self.message}" if self.param else self.message


class Unreachable(ApiError):
    """No answer came."""


def api_error(answer: httpx.Response) -> ApiError:
    """The error envelope as an exception; other bodies, such as a proxy's, as they are."""
    request_id = answer.headers.get("x-request-id", "")
    try:
        error = answer.json()["error"]
        message, code, param = error["message"], error["code"], error.get("param")
    except (ValueError, KeyError, TypeError):
        message, code, param = f"HTTP {answer.status_code}: {answer.text[:200]}", "http_error", None
        if answer.is_redirect:
            message = f"{answer.url} leads on to {answer.headers.get('location', '')}: set ADAMSS_URL to that address."
    return ApiError(message, status=answer.status_code, code=code, param=param, request_id=request_id)
