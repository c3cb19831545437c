"""The page at /: one HTML file and ES modules, served without a build step or third-party hosts."""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from html import escape
from mimetypes import guess_type
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

STATIC = Path(__file__).parent / "static"
# Files of the pages that sign a browser in.
OPEN = {"enter.js": "text/javascript", "signin.js": "text/javascript", "style.css": "text/css"}
FOR_EVER = "public, max-age=31536000, immutable"


def add(app: FastAPI) -> None:
    """Add / and its static files. Views are addressed after #, so the service sees no view's address."""
    app.add_route("/static/{name:path}", static_file, include_in_schema=False)

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        html = (STATIC / "index.html").read_text(encoding="utf-8")
        addressed = html.replace('"/static/', f'"/static/{version()}/')
        return HTMLResponse(addressed, headers={"cache-control": "no-cache"})

    for name, media_type in OPEN.items():
        _add_open(app, name, media_type)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> FileResponse:
        """Return the icon; browsers ask for it beside each page that names none, and log a refusal as its error."""
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


def _add_open(app: FastAPI, name: str, media_type: str) -> None:
    """Serve one static file at the root, where signed-out browsers may read it."""

    @app.get(f"/{name}", include_in_schema=False)
    def open_file() -> FileResponse:
        return FileResponse(STATIC / name, media_type=media_type)


async def static_file(request: Request) -> Response:
    """Serve a file of the page from memory: a first visit asks for some twenty at once.

    Below a folder named by the files' hash, browsers may cache it forever.
    """
    folder, _, rest = request.path_params["name"].partition("/")
    name, caching = (rest, FOR_EVER) if folder == version() else (request.path_params["name"], "no-cache")
    if name not in bodies():
        raise HTTPException(404)
    plain, packed = bodies()[name]
    headers = {"cache-control": caching, "vary": "accept-encoding"}
    if takes_gzip := "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    return Response(packed if takes_gzip else plain, headers=headers, media_type=guess_type(name)[0])


@cache
def bodies() -> dict[str, tuple[bytes, bytes]]:
    """Read the static files: path below their folder → the file, and the file in gzip."""
    files = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in sorted(STATIC.rglob("*.*"))}
    return {name: (body, gzip.compress(body, mtime=0)) for name, body in files.items()}


@cache
def version() -> str:
    """Hash the static files."""
    digest = hashlib.sha256()
    for name, (body, _) in bodies().items():
        digest.update(name.encode() + b"\0" + body)
    return digest.hexdigest()[:16]


def asks_for_page(headers: Headers) -> bool:
    """Whether the request is a browser's navigation, to be answered with HTML."""
    return "text/html" in headers.get("accept", "")


def enter_page() -> HTMLResponse:
    """Return the page of a sign-in link; its script posts the code in the link's address."""
    return HTMLResponse((STATIC / "enter.html").read_text(encoding="utf-8"))


def sign_in_page(reason: str, back: str = "/") -> HTMLResponse:
    """Return the sign-in form for browsers without a session, in place of a JSON error.

    Args:
        back: the path that the browser asked for, and gets after signing in.
    """
    page = (STATIC / "signin.html").read_text(encoding="utf-8")
    shown = re.sub("`([^`]+)`", r"<code>\1</code>", escape(reason))
    filled = page.replace("{reason}", shown).replace("{next}", escape(back))
    return HTMLResponse(filled, 401, headers={"www-authenticate": "Bearer"})


def own_path(path: str) -> str:
    """Return a path of this service to redirect to, or / for what would lead to another host."""
    is_own = path.startswith("/") and path.isprintable() and not path.startswith("//") and "\\" not in path
    return path if is_own else "/"
