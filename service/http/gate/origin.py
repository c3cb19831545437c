"""Where a request comes from: for which host, and sent by which page.

A browser can be made to send requests by any page its user visits. What protects from that stands here: names we answer
to (against DNS rebinding), pages we take requests from, and a header that only our own pages can add to what a cookie
signs in. No CORS header is ever sent, so no other page reads an answer either.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from service.http.routes import SAFE_METHODS
from service.shared.errors import BadRequest, Forbidden
from service.shared.settings import Settings

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
ANY_HOST = "*"

# A page of another site cannot add a header of its own without asking first (a CORS preflight), which is refused here.
PAGE_HEADER = "x-adamss-page"


def check_host(settings: Settings, host: str) -> None:
    """Only names of our own are answered: a page elsewhere could let its name point to us (DNS rebinding)."""
    name = _host_name(host)
    if not name or not is_allowed_host(settings, name):
        raise Forbidden(
            f"This service does not answer to the name '{(name or '')[:100]}'. Use {settings.resolved_url}, or have "
            "the operator add the name to ADAMSS_ALLOWED_HOSTS.",
            code="host_not_allowed",
        )


def is_allowed_host(settings: Settings, name: str) -> bool:
    """Whether a host name is ours: by the operator's list, else loopback, our address and this machine's name.

    Beyond loopback an IP address is ours too: it cannot be made to point elsewhere.
    """
    if settings.allowed_hosts:
        listed = {host.lower() for host in settings.allowed_hosts}
        return ANY_HOST in listed or name in listed or name in LOOPBACK_NAMES
    own = {*LOOPBACK_NAMES, settings.host.lower(), urlsplit(settings.resolved_url).hostname}
    if name in own:
        return True
    return not settings.is_loopback and (name == socket.gethostname().lower() or _is_address(name))


def check_origin(settings: Settings, scope: Scope, headers: Headers) -> None:
    """Refuses what a browser sent on behalf of another site, whatever it carries; a link to us may be followed."""
    origin = headers.get("origin")
    if origin is not None:
        own = {headers.get("host", "").lower(), urlsplit(settings.resolved_url).netloc.lower()}
        if origin == "null" or _netloc(origin) not in own:
            raise Forbidden("Requests from other sites are refused.", code="foreign_origin")
    followed_link = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed_link:
        raise Forbidden("Requests from other sites are refused.", code="foreign_origin")


def check_csrf(scope: Scope, headers: Headers) -> None:
    """A change that a cookie signs in must come from a page of ours, which says so in two ways."""
    if scope["method"] in SAFE_METHODS:
        return
    from_us = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"  # whose it is: see check_origin
    if not from_us or not headers.get(PAGE_HEADER):
        raise Forbidden(
            f"A change that is signed in by cookie must come from the service's own pages, with the header "
            f"{PAGE_HEADER}. Send the key as `Authorization: Bearer <key>` instead.",
            code="not_from_page",
        )


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError as error:
        raise BadRequest("The Host header is malformed.", code="bad_host") from error


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
