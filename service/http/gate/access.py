"""Access control of every route, mount and page: host, origin, credential, rate and role.

Paths without a policy of their own need a key (see `service.http.routes`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from threading import Lock

from anyio import CancelScope
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.guesses import KnownCredentials, sender_address
from service.http.gate.origin import check_csrf, check_host, check_origin
from service.http.gate.rates import RateLimits
from service.http.gate.rendering import error_response
from service.http.routes import policy_of
from service.keys.service import Identity, identify
from service.keys.sessions import identify_session
from service.shared.database.engine import Database
from service.shared.database.tables import Role
from service.shared.errors import Forbidden, InvalidRequest, ServiceError, TooManyRequests, Unauthorized
from service.shared.settings import Settings
from service.shared.storage.pairing import home_id
from service.web.page import asks_for_page, sign_in_page

# Checks are made at this interval, and hold for as long: a response under way outlives its credential by twice of it.
RECHECK_SECONDS = 0.9

ID_LETTERS = 12  # of the home folder's id in the cookie's name

_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True)
class Credential:
    """A key, or the token of a browser's session."""

    secret: str
    from_cookie: bool


class AccessMiddleware:
    """Gate that sets `state.identity` of admitted requests and refuses all others."""

    def __init__(self, app: ASGIApp, settings: Settings, rates: RateLimits) -> None:
        self.app, self.settings, self.rates = app, settings, rates
        self._rechecked: dict[Credential, tuple[bool, float]] = {}  # validity, and time of the check
        self._rechecking = Lock()
        self._known = KnownCredentials()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            credential = await self._check(scope)
        except ServiceError as error:
            shown = error_response(error, path=scope["path"])
            reason = "This needs a key." if error.code == "key_missing" else error.message  # a form is there to give it
            response = sign_in_page(reason, asked_path(scope)) if wants_page(scope, error) else shown
            await response(scope, receive, send)
            return
        if credential is None:
            await self.app(scope, receive, send)
            return
        await self._serve(scope, receive, send, credential)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, credential: Credential) -> None:
        """Serve an admitted request for as long as its credential is valid."""
        checked, begun = time.monotonic(), False
        watch: asyncio.Task[None] | None = None

        async def send_while_valid(message: Message) -> None:
            nonlocal checked, begun, watch
            if time.monotonic() - checked >= RECHECK_SECONDS:
                if not await run_sync(self._still_valid, scope, credential):
                    raise CredentialExpired
                checked = time.monotonic()
            begun = True
            if watch is None and message.get("more_body"):
                watch = asyncio.create_task(self._end_with(credential, scope, response))
            await send(message)

        with CancelScope() as response:
            try:
                await self.app(scope, receive, send_while_valid)
            except CredentialExpired:  # a response that has begun is aborted
                if not begun:
                    await error_response(_invalid_credential(credential))(scope, receive, send)
            finally:
                if watch is not None:
                    watch.cancel()

    async def _end_with(self, credential: Credential, scope: Scope, response: CancelScope) -> None:
        """Abort a response once its credential is no longer valid, also where it has nothing to send."""
        valid = True
        while valid:
            await asyncio.sleep(RECHECK_SECONDS)
            with suppress(SQLAlchemyError):  # without a database, nothing new is sent either
                valid = self._known_valid(credential) or await run_sync(self._still_valid, scope, credential)
        response.cancel()

    async def _check(self, scope: Scope) -> Credential | None:
        """Run all checks; return the credential that admits the request, or None for a public route."""
        headers = Headers(scope=scope)
        check_host(self.settings, headers.get("host", ""))
        check_origin(self.settings, scope, headers)
        if policy_of(scope["path"]).is_public(scope["method"]):
            return None
        credential = read_credential(self.settings, headers)
        if credential.from_cookie:
            check_csrf(scope, headers)
        identity = await run_sync(self._admit, scope, credential)
        check_role(scope, identity)
        check_text(scope)
        state = scope.setdefault("state", {})
        state["identity"], state["project_id"] = identity, identity.project_id
        return credential

    def _admit(self, scope: Scope, credential: Credential) -> Identity:
        if credential.secret not in self._known:
            check_address(self.rates, self.settings, scope)
        identity = self._identify(scope, credential)
        self._known.note(credential.secret, valid=identity is not None)
        if identity is None:
            raise _invalid_credential(credential)
        check_rate(self.rates, self.settings, identity.key_id)
        return identity

    def _known_valid(self, credential: Credential) -> bool:
        """Tell whether a check of the credential, for whichever response, is recent enough."""
        valid, since = self._rechecked.get(credential, (False, 0.0))
        return valid and time.monotonic() - since < RECHECK_SECONDS

    def _still_valid(self, scope: Scope, credential: Credential) -> bool:
        """Check a credential again, once for all its responses under way: hundreds may watch one job."""
        with self._rechecking:
            valid, since = self._rechecked.get(credential, (True, 0.0))
            if valid and time.monotonic() - since >= RECHECK_SECONDS:
                valid = self._identify(scope, credential) is not None
                self._rechecked = {
                    other: entry for other, entry in self._rechecked.items() if time.monotonic() - entry[1] < 60
                }
                self._rechecked[credential] = valid, time.monotonic()
            return valid

    def _identify(self, scope: Scope, credential: Credential) -> Identity | None:
        db: Database = scope["app"].state.context.db
        with db.read() as session:
            find = identify_session if credential.from_cookie else identify
            return find(session, self.settings, credential.secret)


def wants_page(scope: Scope, error: ServiceError) -> bool:
    """Tell whether a browser without a session navigates: to the page, the API's docs, or whatever it has a link to."""
    asks = scope["method"] == "GET" and asks_for_page(Headers(scope=scope))
    return isinstance(error, Unauthorized) and asks


def asked_path(scope: Scope) -> str:
    """Return the path with the query that a request asks for."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def check_rate(rates: RateLimits, settings: Settings, sender: str, subject: str = "This key") -> None:
    """Count a request of `sender`, named `subject` in the error.

    Raises:
        TooManyRequests: the sender has exceeded the limit.
    """
    if seconds := rates.wait_seconds(sender):
        raise TooManyRequests(
            f"{subject} sends more than {settings.requests_per_minute} requests a minute. Try again in {seconds} s.",
            code="rate_limited",
            retry_after=seconds,
        )


def check_address(rates: RateLimits, settings: Settings, scope: Scope) -> None:
    """Count a sign-in, or a key that may be a guess, by address: its sender has no key to count by.

    Raises:
        TooManyRequests: the address has exceeded the limit; nothing is looked up then.
    """
    check_rate(rates, settings, f"address {sender_address(scope)}", "This address")


def _invalid_credential(credential: Credential) -> Unauthorized:
    if credential.from_cookie:
        return Unauthorized(
            "This browser is signed out: its session has expired or was ended, or the key it was opened with has "
            "expired or was revoked. Sign in again; `adamss link` prints a link.",
            code="session_ended",
        )
    return Unauthorized(
        "The key is not valid: unknown, expired or revoked. `adamss keys list` shows which are valid; `adamss keys "
        "create` makes one.",
        code="invalid_key",
    )


class CredentialExpired(Exception):
    """Revocation or expiry of a credential during its response."""


def check_role(scope: Scope, identity: Identity) -> None:
    """Raise Forbidden if the route requires a higher role than the key has."""
    required = policy_of(scope["path"]).required_role(scope["method"])
    if _RANK[identity.role] < _RANK[required]:
        raise Forbidden(
            f"This needs a key with the role `{required.value}`; yours has `{identity.role.value}`. The operator makes "
            f"one: adamss keys create NAME --role {required.value}",
            code="role_too_low",
        )


def check_text(scope: Scope) -> None:
    """Raise InvalidRequest for a NUL in path or query: no id or name has one, and PostgreSQL rejects it in texts."""
    if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
        raise InvalidRequest("The address contains a NUL character (%00); no id or name does.", code="bad_address")


def read_credential(settings: Settings, headers: Headers) -> Credential:
    """Read the credential of a request; a key takes precedence over a cookie.

    Raises:
        Unauthorized: the request has no credential.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if key:
        if scheme.lower() != "bearer":
            raise Unauthorized("Send the key as `Authorization: Bearer <key>`.", code="invalid_key")
        return Credential(key.strip(), from_cookie=False)
    if token := session_token(settings, headers):
        return Credential(token, from_cookie=True)
    raise Unauthorized(
        "This needs a key: send `Authorization: Bearer <key>`, or open the sign-in link that `adamss up` or `adamss "
        "link` prints.",
        code="key_missing",
    )


def cookie_name(settings: Settings) -> str:
    """Return the cookie's name, with the home folder's id: a browser shares cookies between the ports of a host."""
    return f"adamss_{home_id(settings.files)[:ID_LETTERS]}"


def session_token(settings: Settings, headers: Headers) -> str | None:
    """Read the session token from the browser's cookie."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(cookie_name(settings))
    except CookieError:
        return None
    return None if morsel is None else morsel.value
