"""Signing a browser in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from service.http.context import Context, ContextDep
from service.http.gate.access import check_rate, cookie_name, session_token
from service.http.gate.headers import is_https
from service.keys import sessions
from service.keys.service import identify
from service.keys.sessions import NewSession
from service.shared.errors import Unauthorized
from service.shared.settings import Settings
from service.web.page import asks_for_page, enter_page, sign_in_page

router = APIRouter(tags=["access"])

HOME = "/"


@router.get("/signin", include_in_schema=False)
def open_link(request: Request, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Where a link leads: a page that sends its code on by itself.

    So a program that only looks at links, as chats and mail scanners do, uses none up; and the next request comes from
    a page of ours, with the cookie, which a browser leaves out when a page elsewhere has the link.
    """
    return enter_page() if code else _refused(request, "This link is not complete: it has no code.", "link_ended")


@router.post("/signin", include_in_schema=False)
async def sign_in(request: Request, context: ContextDep) -> Response:
    """What these pages send: a link's code, or a key, in the body, where no address or log keeps it."""
    async with request.form(max_files=0, max_fields=4) as form:
        key, code = (str(form.get(name, "")).strip() for name in ("key", "code"))
    return await run_sync(_take_code if code else _take_key, request, context, code or key)


@router.post("/signout", include_in_schema=False, status_code=204)
def sign_out(request: Request, context: ContextDep) -> Response:
    """Ends the session of this browser."""
    if token := session_token(context.settings, request.headers):
        with context.db.write() as session:
            sessions.sign_out(session, token)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(context.settings), path=HOME)
    return response


def _take_code(request: Request, context: Context, code: str) -> Response:
    """A link works once. To a browser that it has signed in already, it stays a way to the page."""
    _check_address(request, context)
    if opened := _opened(context, sessions.is_link, sessions.follow_link, code):
        return _signed_in(request, context, opened)
    token = session_token(context.settings, request.headers)
    with context.db.read() as session:
        if token and sessions.identify_session(session, context.settings, token):
            return RedirectResponse(HOME, status_code=303)
    return _refused(request, "This link was used already, or is too old. `adamss link` prints a new one.", "link_ended")


def _take_key(request: Request, context: Context, key: str) -> Response:
    _check_address(request, context)
    if opened := _opened(context, identify, sessions.sign_in, key):
        return _signed_in(request, context, opened)
    return _refused(request, "The key is not valid: unknown, expired or revoked.", "invalid_key")


def _opened(
    context: Context,
    known: Callable[[Session, Settings, str], object],
    opening: Callable[[Session, Settings, str], NewSession | None],
    secret: str,
) -> NewSession | None:
    """Looked up first, so that whoever guesses does not reach the database's one writer."""
    with context.db.read() as session:
        if not known(session, context.settings, secret):
            return None
    with context.db.write() as session:
        return opening(session, context.settings, secret)


def _check_address(request: Request, context: Context) -> None:
    """Whoever shows nothing valid has no key to count their requests by."""
    host = "unknown" if request.client is None else request.client.host
    check_rate(request.app.state.rates, context.settings, f"address {host}", "This address")


def _signed_in(request: Request, context: Context, opened: NewSession) -> Response:
    """To the page, so that the address is forgotten; the cookie is one that scripts cannot read."""
    request.state.identity = opened.identity  # for the audit log
    check_rate(request.app.state.rates, context.settings, opened.identity.key_id)
    response = RedirectResponse(HOME, status_code=303)
    response.set_cookie(
        cookie_name(context.settings),
        opened.token,
        expires=opened.expires_at,
        httponly=True,
        samesite="strict",
        secure=is_https(context.settings, request.scope),
        path=HOME,
    )
    return response


def _refused(request: Request, message: str, code: str) -> Response:
    if asks_for_page(request.headers):
        return sign_in_page(message)
    raise Unauthorized(message, code=code)
