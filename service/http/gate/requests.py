"""Request id, log line, request metrics, and the handler of unexpected errors."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.headers import protect
from service.http.gate.rendering import error_response, internal_error
from service.http.routes import SAFE_METHODS
from service.shared.database.engine import is_disk_full
from service.shared.errors import Unavailable
from service.shared.settings import Settings

logger = logging.getLogger(__name__)

CLIENT_GONE = 499  # in log and metrics, as nginx writes it
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class RequestMetrics:
    """Prometheus metrics of one app; not global, so that the apps of a test run do not share them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route", "status")
        self.requests = Counter("adamss_requests", "Requests served.", labels, registry=registry)
        self.seconds = Histogram("adamss_request_seconds", "Duration of requests.", ("route",), registry=registry)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a served request, labelled with its route's template: paths would make one series per id."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in {"GET", "POST", "DELETE", "HEAD", "OPTIONS"} else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


class RequestMiddleware:
    """Outermost middleware of ours: every exception becomes a response, every response has its request id."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, settings: Settings) -> None:
        self.app, self.metrics, self.settings = app, metrics, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                protect(headers, self.settings, scope)
            await send(message)

        try:
            await self._serve(scope, receive, send_with_id, lambda: bool(status))
        except ClientDisconnect:  # within its body: nobody is left to answer
            status = status or CLIENT_GONE
        except Exception as error:  # unexpected: rendered without details, logged with them
            response = _render(error, request_id)
            if status:  # the response has begun, so it can only be aborted
                raise
            await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            self.metrics.count(scope, status, seconds)
            logger.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "path": scope["path"],  # without the query: a sign-in link has its code there
                    "status": status,
                    "seconds": round(seconds, 4),
                },
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send, begun: Callable[[], bool]) -> None:
        """Serve a request; repeat a read once if its database connection was cut, as by a restart of the server.

        By then the pool has a new connection.
        """
        as_received = dict(scope)
        try:
            await self.app(scope, receive, send)
        except DBAPIError as error:
            if begun() or not error.connection_invalidated or scope["method"] not in SAFE_METHODS:
                raise
            logger.warning("read repeated, because its database connection was cut: %r", error.orig)
            scope.clear()
            scope.update(as_received)
            await self.app(scope, receive, send)


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get("x-request-id", "")
    return sent if REQUEST_ID.fullmatch(sent) else uuid4().hex


def _render(error: Exception, request_id: str) -> Response:
    logger.error("request failed", exc_info=error, extra={"request_id": request_id})
    if is_disk_full(error):
        full = Unavailable("The disk is full. Delete old jobs or data sets, or make room.", code="disk_full")
        return error_response(full)
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        unavailable = Unavailable("The database does not answer. Try again shortly.", code="database_unavailable")
        return error_response(unavailable, {"retry-after": "5"})
    return internal_error(request_id)
