"""Who may come in: host, origin and key, checked for every route, mount and page in one place.

What is not on the list of public paths needs a key, so that a route added later cannot be forgotten.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.db import Database
from service.errors import BadRequest, Forbidden, ServiceError, Unauthorized
from service.keys.service import project_of
from service.rendering import error_response
from service.settings import Settings

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN = "/signin"


class AccessMiddleware:
    """Lets a request through to the app with `state.project_id` set, or answers it in the app's place."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            await self._check(scope)
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        check_host(self.settings, headers.get("host", ""))
        check_origin(self.settings, headers)
        if scope["path"] in PUBLIC_PATHS:
            return
        key, from_cookie = credential(self.settings, scope, headers)
        if from_cookie and scope["method"] not in SAFE_METHODS and "origin" not in headers:
            raise Forbidden(
                "A change that is signed in by cookie must come from the service's own pages. Send the key as "
                "`Authorization: Bearer <key>` instead.",
                code="origin_missing",
            )
        db: Database = scope["app"].state.context.db
        project_id = await run_sync(_project_id, db, self.settings, key)
        if project_id is None:
            raise Unauthorized(
                "The key is not valid. `adamss keys list` shows which are; `adamss keys create` makes one.",
                code="invalid_key",
            )
        scope.setdefault("state", {})["project_id"] = project_id


def check_host(settings: Settings, host: str) -> None:
    """On loopback only our own names are answered: a page elsewhere could have its name point to us (DNS rebinding)."""
    if not settings.is_loopback:
        return
    allowed = {"127.0.0.1", "localhost", "::1", settings.host, urlsplit(settings.resolved_url).hostname}
    if _host_name(host) not in allowed:
        raise Forbidden(
            f"This service listens on loopback and answers to {settings.resolved_url} only.", code="host_not_allowed"
        )


def check_origin(settings: Settings, headers: Headers) -> None:
    """A request that a browser sent on behalf of another site is refused, whatever it carries."""
    origin = headers.get("origin")
    if origin is None:
        return
    own = {headers.get("host", "").lower(), urlsplit(settings.resolved_url).netloc.lower()}
    if urlsplit(origin).netloc.lower() not in own or origin == "null":
        raise Forbidden("Requests from other sites are refused.", code="foreign_origin")


def credential(settings: Settings, scope: Scope, headers: Headers) -> tuple[str, bool]:
    """The key of a request, and whether it came by cookie.

    Raises:
        Unauthorized: there is none.
    """
    if scope["path"] == SIGN_IN:
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if token:
            return token, False
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if key:
        if scheme.lower() != "bearer":
            raise Unauthorized("Send the key as `Authorization: Bearer <key>`.", code="invalid_key")
        return key.strip(), False
    cookie = _cookie(headers, cookie_name(settings))
    if cookie:
        return cookie, True
    raise Unauthorized(
        "This needs a key: send `Authorization: Bearer <key>`, or open the sign-in link that `adamss up` prints.",
        code="key_missing",
    )


def cookie_name(settings: Settings) -> str:
    """With the port, because a browser shares cookies between the ports of a host."""
    return f"adamss_{settings.port}"


def _project_id(db: Database, settings: Settings, key: str) -> str | None:
    with db.read() as session:
        return project_of(session, settings, key)


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError as error:
        raise BadRequest("The Host header is malformed.", code="bad_host") from error


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if morsel is None else morsel.value
