"""Signing a browser in and out."""

from __future__ import annotations

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.access import check_rate, cookie_name, session_token
from service.context import Context, ContextDep
from service.errors import Unauthorized
from service.headers import is_https
from service.keys import sessions
from service.keys.sessions import NewSession
from service.web.page import asks_for_page, sign_in_page

router = APIRouter(tags=["access"])

HOME = "/"


@router.get("/signin", include_in_schema=False)
def follow_link(request: Request, context: ContextDep, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """A link works once. To a browser that it has signed in already, it stays a way to the page."""
    with context.db.write() as session:
        opened = sessions.follow_link(session, context.settings, code)
    if opened is not None:
        return _signed_in(request, context, opened)
    token = session_token(context.settings, request.headers)
    with context.db.read() as session:
        if token and sessions.identify_session(session, context.settings, token):
            return RedirectResponse(HOME, status_code=303)
    return _refused(request, "This link was used already, or is too old. `adamss link` prints a new one.", "link_ended")


@router.post("/signin", include_in_schema=False)
async def sign_in(request: Request, context: ContextDep) -> Response:
    """What the sign-in page sends: a key, in the body, where no address or log keeps it."""
    async with request.form(max_files=0, max_fields=4) as form:
        key = str(form.get("key", "")).strip()

    def check() -> Response:
        with context.db.write() as session:
            opened = sessions.sign_in(session, context.settings, key)
        if opened is None:
            return _refused(request, "The key is not valid: unknown, expired or revoked.", "invalid_key")
        return _signed_in(request, context, opened)

    return await run_sync(check)


@router.post("/signout", include_in_schema=False, status_code=204)
def sign_out(request: Request, context: ContextDep) -> Response:
    """Ends the session of this browser."""
    if token := session_token(context.settings, request.headers):
        with context.db.write() as session:
            sessions.sign_out(session, token)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(context.settings), path=HOME)
    return response


def _signed_in(request: Request, context: Context, opened: NewSession) -> Response:
    """To the page, so that the address is forgotten; the cookie is one that scripts cannot read."""
    request.state.identity = opened.identity  # for the audit log
    check_rate(request.app.state.rates, context.settings, opened.identity)
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
