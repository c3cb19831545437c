"""The browser of the machine: these tests bring none along."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = "no Chromium was found on this machine (Debian: apt-get install chromium)"


def find() -> str | None:
    """Path of a Chromium; None where there is none, or no Playwright to drive it."""
    if find_spec("playwright") is None:
        return None
    given = os.environ.get("CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)
