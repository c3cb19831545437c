"""Interactive docs from installed files: the page loads nothing from other hosts.

A file starts Swagger UI, because the content security policy forbids inline scripts.
"""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from service.http.gate.origin import PAGE_HEADER

ASSETS = "/docs/assets"
START = "/docs/start.js"

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
<link rel="icon" href="{ASSETS}/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="{START}"></script>
</body>
</html>
"""

SCRIPT = f"""SwaggerUIBundle({{
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  requestInterceptor: (request) => {{
    request.headers["{PAGE_HEADER}"] = "docs";
    return request;
  }},
}});
"""


def add(app: FastAPI) -> None:
    """Add /docs and its files."""
    app.mount(ASSETS, StaticFiles(directory=assets_folder()), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    def interactive_docs() -> HTMLResponse:
        return HTMLResponse(PAGE.format(title=escape(f"{app.title} API")))

    @app.get(START, include_in_schema=False)
    def start_script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")


def assets_folder() -> Path:
    """Find Swagger UI's files in the package fastapi-offline, without importing it."""
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("fastapi-offline is missing; install this package with its dependencies")
    return Path(package.origin).parent / "static"
