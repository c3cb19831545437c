"""The page's files, as a browser gets them."""

from __future__ import annotations

import re

from service.web.page import STATIC


def test_all_modules_are_fetched_at_once() -> None:
    """One that is not named in the HTML is found only when the module that imports it has come: a round trip more."""
    html = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:href|src)="/static/([\w./-]+\.js)"', html)
    there = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")]
    assert sorted(named) == sorted(there)
