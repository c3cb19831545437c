"""Security headers of every response: no foreign resources, no inline scripts, no framing."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from service.shared.settings import Settings

# Swagger UI's style sheet holds its icons as data: URLs.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = "max-age=31536000"


def is_https(settings: Settings, scope: Scope) -> bool:
    """Tell whether the caller uses https, to us or to the proxy in front of us."""
    return scope.get("scheme") == "https" or settings.resolved_url.startswith("https://")


def protect(headers: MutableHeaders, settings: Settings, scope: Scope) -> None:
    """Add the security headers to a response."""
    for name, value in HEADERS.items():
        headers[name] = value
    if is_https(settings, scope):
        headers["strict-transport-security"] = HSTS
    # A browser may cache a file that it was allowed to read, but must revalidate it.
    headers.setdefault("cache-control", "private, no-cache" if "etag" in headers else "no-store")
