"""Sign-in and sign-out of a browser over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from service.http.context import Context, ContextDep
from service.http.gate.access import check_address, check_rate, cookie_name, session_token
from service.http.gate.headers import is_https
from service.keys import sessions
from service.keys.service import identify
from service.keys.sessions import NewSession
from service.shared.errors import Unauthorized
from service.shared.settings import Settings
from service.web.page import asks_for_page, enter_page, own_path, sign_in_page

router = APIRouter(tags=["access"])

HOME = "/"


@router.get("/signin", include_in_schema=False)
def open_link(request: Request, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Answer a sign-in link with a page that posts the link's code.

    So a program that only fetches links, such as a chat or a mail scanner, does not use the code up. And the next
    request comes from a page of ours, so the browser sends the cookie, which it omits after a link on another site.
    """
    return enter_page() if code else _refused(request, "This link is incomplete: it has no code.", "link_ended")


@router.post("/signin", include_in_schema=False)
async def sign_in(request: Request, context: ContextDep) -> Response:
    """Sign in with a link's code or a key. Both come in the body, so that no address or log holds them."""
    async with request.form(max_files=0, max_fields=4) as form:
        key, code, back = (str(form.get(name, "")).strip() for name in ("key", "code", "next"))
    if code:
        return await run_sync(_sign_in_by_code, request, context, code)
    return await run_sync(_sign_in_by_key, request, context, key, own_path(back))


@router.post("/signout", include_in_schema=False, status_code=204)
def sign_out(request: Request, context: ContextDep) -> Response:
    """End the session of this browser."""
    if token := session_token(context.settings, request.headers):
        with context.db.write() as session:
            sessions.sign_out(session, token)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(context.settings), path=HOME)
    return response


def _sign_in_by_code(request: Request, context: Context, code: str) -> Response:
    """Open a session by a link's code. A used link still leads a signed-in browser to the page."""
    check_address(request.app.state.rates, context.settings, request.scope)
    if opened := _open_session(context, sessions.is_link, sessions.follow_link, code):
        return _redirect_with_cookie(request, context, opened)
    token = session_token(context.settings, request.headers)
    with context.db.read() as session:
        if token and sessions.identify_session(session, context.settings, token):
            return RedirectResponse(HOME, status_code=303)
    return _refused(request, "This link was used already, or is too old. `adamss link` prints a new one.", "link_ended")


def _sign_in_by_key(request: Request, context: Context, key: str, back: str) -> Response:
    """Open a session by a key, and lead back to the path that the browser had asked for."""
    check_address(request.app.state.rates, context.settings, request.scope)
    if opened := _open_session(context, identify, sessions.sign_in, key):
        return _redirect_with_cookie(request, context, opened, back)
    return _refused(request, "The key is not valid: unknown, expired or revoked.", "invalid_key", back)


def _open_session(
    context: Context,
    is_valid: Callable[[Session, Settings, str], object],
    create: Callable[[Session, Settings, str], NewSession | None],
    secret: str,
) -> NewSession | None:
    """Open a session; reject an invalid secret with a read, so that guesses do not block the database's only writer."""
    with context.db.read() as session:
        if not is_valid(session, context.settings, secret):
            return None
    with context.db.write() as session:
        return create(session, context.settings, secret)


def _redirect_with_cookie(request: Request, context: Context, opened: NewSession, back: str = HOME) -> Response:
    """Set the session's cookie, hidden from scripts, and redirect to the page, so that the code leaves the address."""
    request.state.identity = opened.identity  # for the audit log
    check_rate(request.app.state.rates, context.settings, opened.identity.key_id)
    response = RedirectResponse(back, status_code=303)
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


def _refused(request: Request, message: str, code: str, back: str = HOME) -> Response:
    if asks_for_page(request.headers):
        return sign_in_page(message, back)
    raise Unauthorized(message, code=code)
