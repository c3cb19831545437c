"""The page's files, as a browser gets them."""

from __future__ import annotations

import re

from fastapi import FastAPI
from starlette.testclient import TestClient

from service.web import page
from service.web.page import OPEN, STATIC


def test_html_preloads_what_the_first_view_imports() -> None:
    """A module missing from the HTML costs another round trip, one too many delays the list of jobs."""
    html = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:href|src)="/static/([\w./-]+\.js)"', html)
    assert sorted(named) == sorted(imported("main.js") | imported("jobs.js"))


def imported(name: str) -> set[str]:
    """Find a module and all that it imports before it runs."""
    found, new = set(), {name}
    while new:
        module = new.pop()
        found.add(module)
        folder = (STATIC / module).parent
        paths = re.findall(r'from "(\./[\w./-]+\.js)"', (STATIC / module).read_text())
        new |= {(folder / path).resolve().relative_to(STATIC).as_posix() for path in paths} - found
    return found


def test_all_other_modules_belong_to_a_view() -> None:
    views = re.findall(r'import\("\./(\w+\.js)"\)', (STATIC / "main.js").read_text())
    present = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js") if path.name not in OPEN}
    assert set.union(imported("main.js"), *map(imported, views)) == present


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
        plain = client.get(address, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content == (STATIC / address.split("/", 3)[3]).read_bytes()
    name = addresses[0].rpartition("/")[2]
    for folder in ("", "0123456789abcdef/"):  # no folder, or that of other files
        assert "immutable" not in client.get(f"/static/{folder}{name}").headers.get("cache-control", "")
