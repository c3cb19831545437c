"""Address and key of the service, from the environment.

This module repeats five `ADAMSS_` variables and their defaults from `service.shared.settings` (a test compares the
two), so that the client works without the server's packages.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.client.errors import ApiError

WILDCARDS = ("0.0.0.0", "::")  # addresses to listen on, not to call


def find_url() -> str:
    """Return ADAMSS_URL, else the address made of ADAMSS_HOST and ADAMSS_PORT.

    Raises:
        ApiError: bad_settings, if the port is not a number from 0 to 65535.
    """
    if url := os.environ.get("ADAMSS_URL"):
        return url.rstrip("/")
    host = os.environ.get("ADAMSS_HOST", "127.0.0.1")
    host = "127.0.0.1" if host in WILDCARDS else host
    port = os.environ.get("ADAMSS_PORT", "8642")
    if not (port.isdecimal() and int(port) <= 65535):
        raise ApiError(f"ADAMSS_PORT must be a number from 0 to 65535, but is '{port[:40]}'.", code="bad_settings")
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def find_key() -> str | None:
    """Return ADAMSS_API_KEY, else the key of a first start from this machine's home folder."""
    if key := os.environ.get("ADAMSS_API_KEY", "").strip():
        return key
    file = Path(os.environ.get("ADAMSS_HOME", "data")).expanduser() / "api_key"
    return file.read_text().strip() or None if file.is_file() else None
