"""The page at /: one HTML file and ES modules, served as they are. Nothing is built, nothing comes from elsewhere."""

from __future__ import annotations

from html import escape
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"


def add(app: FastAPI) -> None:
    """Adds / and the files it needs. Its views are parts of the address after #, which only the browser sees."""
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


def sign_in_page(reason: str) -> HTMLResponse:
    """What a browser without a key sees at /: it cannot send a header, and should not have to read JSON."""
    page = (STATIC / "signin.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("{reason}", escape(reason)), 401, headers={"www-authenticate": "Bearer"})
