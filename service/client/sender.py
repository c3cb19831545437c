"""Requests to the service: repeated where a second one does no harm, with errors of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import httpx

from service.client.connection import find_key, find_url
from service.client.errors import ApiError, Unreachable, api_error
from service.client.types import Listing

TIMEOUT = httpx.Timeout(120.0, connect=5.0)  # the first dry run of a model waits for its inspection
UPLOAD_TIMEOUT = httpx.Timeout(3_600.0, connect=5.0)  # the service reads the whole file before it responds
PAUSES = (0.2, 0.5, 1.0)  # seconds between repeated calls
LONGEST_PAUSE = 30.0  # seconds; who is asked to wait for longer is told so
RETRIED = frozenset({429, 502, 503, 504})
BUSY = frozenset({429})
PATIENCE = 60.0  # seconds of unavailability tolerated while following a job: enough for a restart
PAGE = 1_000

T = TypeVar("T")


class Sender:
    """Connection to one service, as one project."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.url = (url or find_url()).rstrip("/")
        key = api_key or find_key()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ready(self) -> bool:
        """Tell whether database, broker and a worker are available."""
        try:
            return self._send("GET", "/readyz").is_success
        except ApiError:
            return False

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._send("GET", path, params=params, repeat=True).json()

    def _listing(self, path: str, params: Mapping[str, Any], limit: int) -> Listing[Any]:
        """Read pages up to `limit` entries; the first one has the number of all."""
        first = self._get(path, {**params, "limit": min(limit, PAGE)})
        found, left = first["data"][:limit], limit - len(first["data"])
        rest = self._pages(path, {**params, "after": first["next"]}, left) if first["has_more"] else ()
        return Listing([*found, *rest], first.get("total"))

    def _pages(self, path: str, params: Mapping[str, Any], limit: int) -> Iterator[Any]:
        left, query = limit, dict(params)
        while left > 0:
            page = self._get(path, query | {"limit": min(left, PAGE)})
            yield from page["data"][:left]
            left -= len(page["data"])
            if not page.get("has_more") or not page["data"]:
                return
            query["after"] = page["next"]

    def _send(
        self,
        method: str,
        path: str,
        *,
        repeat: bool = False,
        retried: frozenset[int] = RETRIED,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        files: Mapping[str, tuple[str, IO[bytes]]] | None = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> httpx.Response:
        """Send a request; repeat it only if a second one does no harm.

        Args:
            content: makes the body of each try, piece by piece.
        """
        query = {name: value for name, value in (params or {}).items() if value is not None}
        for pause in (*PAUSES, None) if repeat else (None,):
            try:
                response = self._http.request(
                    method,
                    path,
                    params=query,
                    headers=headers,
                    content=None if content is None else content(),
                    json=json,
                    files=files,
                    timeout=timeout,
                )
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)
                continue
            asked = retry_after(response)
            if response.status_code not in retried or pause is None or asked > LONGEST_PAUSE:
                break
            time.sleep(max(pause, asked))
        if not response.is_success:
            raise api_error(response)
        if "html" in response.headers.get("content-type", ""):
            raise ApiError(
                f"The server at {self.url} is not this service. Is ADAMSS_URL its address, and does a proxy's "
                "sign-in page stand in front of it?",
                status=response.status_code,
                code="not_the_service",
            )
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"No answer from {self.url} ({error or type(error).__name__}). Is the service running? "
            "Start it with `adamss up`, or set ADAMSS_URL to its address.",
            code="not_reachable",
        )


def patiently(call: Callable[[], T]) -> T:
    """Call repeatedly through a restart of the service."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except ApiError as error:
            unavailable = error.status in RETRIED or isinstance(error, Unreachable)
            if not unavailable or time.monotonic() >= until:
                raise
            time.sleep(PAUSES[-1])


def retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 0.0
