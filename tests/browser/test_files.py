"""The page's files, as a browser gets them."""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.testclient import TestClient

from service.web import page
from service.web.page import OPEN, STATIC


def test_html_preloads_every_module() -> None:
    """A module missing from the HTML costs another round trip, after its importer has loaded."""
    html = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:href|src)="/static/([\w./-]+\.js)"', html)
    present = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js") if path.name not in OPEN]
    assert sorted(named) == sorted(present)


def test_files_are_cached_until_they_change() -> None:
    app = FastAPI()
    page.add(app)
    client = TestClient(app)
    html = client.get("/")
    assert html.headers["cache-control"] == "no-cache"
    addresses = re.findall(r'"(/static/[^"]+)"', html.text)
    assert len(addresses) > 20
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == page.FOR_EVER
    name = addresses[0].rpartition("/")[2]
    for folder in ("", "0123456789abcdef/"):  # no folder, or that of other files
        assert "immutable" not in client.get(f"/static/{folder}{name}").headers.get("cache-control", "")
