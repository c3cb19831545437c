"""Who may come in: host, origin and key, checked for every route, mount and page in one place.

What is not on the list of public paths needs a key, so that a route added later cannot be forgotten.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.db import Database
from service.errors import ServiceError, Unauthorized
from service.keys.service import project_of
from service.origin import check_host, check_origin, check_page
from service.rendering import error_response
from service.settings import Settings

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
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
        check_origin(self.settings, scope, headers)
        if scope["path"] in PUBLIC_PATHS:
            return
        key, from_cookie = credential(self.settings, scope, headers)
        if from_cookie:
            check_page(scope, headers)
        db: Database = scope["app"].state.context.db
        project_id = await run_sync(_project_id, db, self.settings, key)
        if project_id is None:
            raise Unauthorized(
                "The key is not valid. `adamss keys list` shows which are; `adamss keys create` makes one.",
                code="invalid_key",
            )
        scope.setdefault("state", {})["project_id"] = project_id


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


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return None if morsel is None else morsel.value
