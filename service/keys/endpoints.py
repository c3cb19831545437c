"""The link that signs a browser in."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse

from service.access import cookie_name
from service.context import ContextDep
from service.headers import is_https

router = APIRouter(tags=["access"])


@router.get("/signin", include_in_schema=False)
def sign_in(request: Request, context: ContextDep, token: str) -> RedirectResponse:
    """The middleware has checked the token by now; it becomes a cookie that scripts cannot read."""
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        cookie_name(context.settings),
        token,
        httponly=True,
        samesite="strict",
        secure=is_https(context.settings, request.scope),
        path="/",
    )
    return response
