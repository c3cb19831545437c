"""Errors of the client."""

from __future__ import annotations

from collections.abc import Sequence

import httpx


class ApiError(Exception):
    """An error response of the service, or the lack of a response.

    Attributes:
        message: the error, in words.
        status: HTTP status; 0 without a response.
        code: stable name of the error.
        param: JSON path of the field at fault, such as `dataset.train`.
        request_id: id of the request in the service's log.
        also: further fields at fault, each with code, message and param.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "error",
        param: str | None = None,
        request_id: str = "",
        also: Sequence[dict[str, str | None]] = (),
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param, self.request_id = message, status, code, param, request_id
        self.also = tuple(also)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return a line for each field at fault; a message's own line breaks stay within its line."""
        further = [_line(error.get("param"), error.get("message") or "") for error in self.also]
        return [_line(self.param, self.message), *further]


def _line(param: str | None, message: str) -> str:
    return f"{param}: {message}" if param and not message.startswith(f"{param} ") else message


class Unreachable(ApiError):
    """Lack of a response: the service could not be reached."""


def api_error(response: httpx.Response) -> ApiError:
    """Make an exception of an error response, also if its body is not the service's, such as a proxy's."""
    request_id = response.headers.get("x-request-id", "")
    try:
        error = response.json()["error"]
        message, code, param, also = error["message"], error["code"], error.get("param"), error.get("also", ())
    except (ValueError, KeyError, TypeError):
        also = ()
        message, code, param = f"HTTP {response.status_code}: {response.text[:200]}", "http_error", None
        if response.is_redirect:
            message = (
                f"{response.url} redirects to {response.headers.get('location', '')}: set ADAMSS_URL to that address."
            )
    return ApiError(message, status=response.status_code, code=code, param=param, request_id=request_id, also=also)
