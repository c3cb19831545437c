"""The page at /: one HTML file and ES modules, served as they are. Nothing is built, nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from html import escape
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"


def add(app: FastAPI) -> None:
    """Adds / and the files it needs. Its views are parts of the address after #, which only the browser sees."""
    app.mount("/static", Files(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        html = (STATIC / "index.html").read_text(encoding="utf-8")
        addressed = html.replace('"/static/', f'"/static/{version()}/')
        return HTMLResponse(addressed, headers={"cache-control": "no-cache"})

    @app.get("/enter.js", include_in_schema=False)
    def enter_script() -> FileResponse:
        return FileResponse(STATIC / "enter.js", media_type="text/javascript")


class Files(StaticFiles):
    """Static files, also below a folder named after their content: what comes from there a browser need not ask for
    again, and an upgrade has another folder."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        folder, _, rest = path.partition("/")
        if folder != version():
            return await super().get_response(path, scope)
        response = await super().get_response(rest, scope)
        response.headers["cache-control"] = FOR_EVER
        return response


@cache
def version() -> str:
    """Changes with any of the files."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.*")):
        digest.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def asks_for_page(headers: Headers) -> bool:
    """Whether it is a browser that shows the answer to somebody."""
    return "text/html" in headers.get("accept", "")


def enter_page() -> HTMLResponse:
    """What a sign-in link opens: it sends the link's code, which it finds in its own address, on."""
    return HTMLResponse((STATIC / "enter.html").read_text(encoding="utf-8"))


def sign_in_page(reason: str) -> HTMLResponse:
    """What a browser without a key sees at /: it cannot send a header, and should not have to read JSON."""
    page = (STATIC / "signin.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("{reason}", escape(reason)), 401, headers={"www-authenticate": "Bearer"})
