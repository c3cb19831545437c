"""Checks of a request's host and origin, and protection against cross-site request forgery (CSRF).

Any page can make its visitor's browser send requests to this service. Three checks refuse them: the host must be ours
(against DNS rebinding), the origin must not be another site, and changes signed in by cookie need a header that only
our own pages can add. The service sends no CORS headers, so other pages cannot read responses either.
"""

from __future__ import annotations

import re
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
HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{0,253}))(?::[0-9]{0,5})?", re.ASCII)

# Another site's page can add this header only after a CORS preflight, which the service refuses.
PAGE_HEADER = "x-adamss-page"


def check_host(settings: Settings, host: str) -> None:
    """Raise Forbidden unless the Host header names this service: another site's name may point here (DNS rebinding)."""
    name = _host_name(host)
    if not is_allowed_host(settings, name):
        raise Forbidden(
            f"'{name[:100]}' is not an allowed host name of this service. Use {settings.resolved_url}, or have "
            "the operator add the name to ADAMSS_ALLOWED_HOSTS.",
            code="host_not_allowed",
        )


def is_allowed_host(settings: Settings, name: str) -> bool:
    """Tell whether a host name is ours: listed by the operator, else loopback, our address or this machine's name.

    Beyond loopback any IP address is accepted: DNS rebinding needs a name.
    """
    if settings.allowed_hosts:
        listed = {host.lower() for host in settings.allowed_hosts}
        return ANY_HOST in listed or name in listed or name in LOOPBACK_NAMES
    own = {*LOOPBACK_NAMES, settings.host.lower(), urlsplit(settings.resolved_url).hostname}
    if name in own:
        return True
    return not settings.is_loopback and (name == socket.gethostname().lower() or _is_address(name))


def check_origin(settings: Settings, scope: Scope, headers: Headers) -> None:
    """Raise Forbidden for a request sent on behalf of another site, except the navigation of a followed link."""
    origin = headers.get("origin")
    if origin is not None:
        own = {headers.get("host", "").lower(), urlsplit(settings.resolved_url).netloc.lower()}
        if origin == "null" or _netloc(origin) not in own:
            raise Forbidden("Requests from other sites are refused.", code="foreign_origin")
    followed_link = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed_link:
        raise Forbidden("Requests from other sites are refused.", code="foreign_origin")


def check_csrf(scope: Scope, headers: Headers) -> None:
    """Raise Forbidden for a change signed in by cookie unless it has a same-site origin and the header of our pages."""
    if scope["method"] in SAFE_METHODS:
        return
    has_origin = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"  # checked by check_origin
    if not has_origin or not headers.get(PAGE_HEADER):
        raise Forbidden(
            f"A change that is signed in by cookie must come from the service's own pages, with the header "
            f"{PAGE_HEADER}. Send the key as `Authorization: Bearer <key>` instead.",
            code="not_from_page",
        )


def _host_name(host: str) -> str:
    """Return the name in a Host header. Parsers of whole URLs would also take user names, paths and fragments."""
    parts = HOST.fullmatch(host)
    if parts is None:
        raise BadRequest("The Host header is malformed.", code="bad_host")
    return (parts["address"] or parts["name"] or "").lower()


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
