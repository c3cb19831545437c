"""Errors of the client."""

from __future__ import annotations

import httpx


class ApiError(Exception):
    """An error response of the service, or the lack of a response.

    Attributes:
        message: the error, in words.
        status: HTTP status; 0 without a response.
        code: stable name of the error.
        param: JSON path of the field at fault, such as `dataset.train`.
        request_id: id of the request in the service's log.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str = "error", param: str | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param, self.request_id = message, status, code, param, request_id

    def __str__(self) -> str:
        return f"{self.param}: {self.message}" if self.param else self.message


class Unreachable(ApiError):
    """Lack of a response: the service could not be reached."""


def api_error(response: httpx.Response) -> ApiError:
    """Make an exception of an error response, also if its body is not the service's, such as a proxy's."""
    request_id = response.headers.get("x-request-id", "")
    try:
        error = response.json()["error"]
        message, code, param = error["message"], error["code"], error.get("param")
    except (ValueError, KeyError, TypeError):
        message, code, param = f"HTTP {response.status_code}: {response.text[:200]}", "http_error", None
        if response.is_redirect:
            message = (
                f"{response.url} redirects to {response.headers.get('location', '')}: set ADAMSS_URL to that address."
            )
    return ApiError(message, status=response.status_code, code=code, param=param, request_id=request_id)
