"""Errors of the API, rendered in one place as {"error": {type, code, message, param}}."""

from __future__ import annotations

import re
from collections.abc import Sequence


class ServiceError(Exception):
    """Base of all errors with an HTTP status.

    Attributes:
        status: HTTP status.
        type: the family of the error.
        code: stable name of the error.
        param: JSON path of the field at fault, such as `dataset.train`.
        retry_after: seconds until another try may succeed; sent as `Retry-After`.
        also: further errors of the same request, found at once.
    """

    status = 500
    type = "server_error"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.param, self.retry_after = message, code or self.type, param, retry_after
        self.also: tuple[ServiceError, ...] = ()


class InvalidRequest(ServiceError):
    status, type = 422, "invalid_request"


def merged(errors: Sequence[InvalidRequest]) -> InvalidRequest:
    """Put all errors of a request into the first one."""
    first, *rest = errors
    first.also = tuple(rest)
    return first


class BadRequest(ServiceError):
    status, type = 400, "invalid_request"


class Unauthorized(ServiceError):
    status, type = 401, "unauthorized"


class Forbidden(ServiceError):
    status, type = 403, "forbidden"


class NotFound(ServiceError):
    status, type = 404, "not_found"


class TooSlow(ServiceError):
    status, type = 408, "timeout"


class Conflict(ServiceError):
    status, type = 409, "conflict"


class TooLarge(ServiceError):
    status, type = 413, "too_large"


def model_too_large(limit: int, param: str = "file") -> TooLarge:
    """Make the error of a base model beyond the operator's limit."""
    return TooLarge(
        f"The model has more than the {limit:,} bytes that the service takes. Have the operator raise the limit "
        "(ADAMSS_MAX_MODEL_BYTES).",
        code="model_too_large",
        param=param,
    )


class RangeNotSatisfiable(ServiceError):
    status, type = 416, "range_not_satisfiable"


class TooManyRequests(ServiceError):
    status, type = 429, "too_many_requests"


class Unavailable(ServiceError):
    status, type = 503, "unavailable"


class TimedOut(ServiceError):
    status, type = 504, "timeout"


class StartRefused(Exception):
    """Refusal to start: others could reach the service without a key, or its home folder and database do not match."""


def quoted_names(names: Sequence[str], limit: int = 20) -> str:
    """Quote the first `limit` names for an error's message."""
    quoted = ", ".join(re.sub(r"\s+", " ", f"'{name}'") for name in names[:limit])
    return quoted + (f" and {len(names) - limit} more" if len(names) > limit else "")
