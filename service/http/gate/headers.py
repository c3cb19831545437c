"""What browsers are told with every answer: load nothing from elsewhere, run nothing inline, be framed by nobody."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from service.shared.settings import Settings

# data: is for the icons inside Swagger UI's style sheet.
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
    """Whether the caller came by https, to us or to the proxy before us."""
    return scope.get("scheme") == "https" or settings.resolved_url.startswith("https://")


def protect(headers: MutableHeaders, settings: Settings, scope: Scope) -> None:
    """Adds the headers to an answer."""
    for name, value in HEADERS.items():
        headers[name] = value
    if is_https(settings, scope):
        headers["strict-transport-security"] = HSTS
    # Files may be kept by the browser that was allowed to read them, after asking whether they still are right.
    headers.setdefault("cache-control", "private, no-cache" if "etag" in headers else "no-store")
