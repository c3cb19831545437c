"""Table of route policies, applied by the gate before any code of a route runs.

The default is strict, so that nobody can forget a new route: a key is required, the role SUBMIT for every method that
is not safe, and the body must be small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from starlette.routing import compile_path

from service.shared.database.tables import Role

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
EVERY_METHOD = frozenset({"*"})
JSON_BYTES = 1024 * 1024
CHAT_BYTES = 4 * 1024 * 1024  # of a long chat
IMAGES_BYTES = 8 * 1024 * 1024  # a few images for a prediction


@dataclass(frozen=True, kw_only=True)
class JsonBounds:
    """Bounds of a JSON body.

    Attributes:
        values: objects, lists and plain values, nested ones included.
        characters: longest string, in bytes.
        depth: of objects and lists in each other.
        digits: longest number, in characters.
    """

    values: int = 5_000
    characters: int = 20_000
    depth: int = 20
    digits: int = 100


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules for one route.

    Attributes:
        public: methods that need no key.
        role: required role of the key; None stands for READ with a safe method, SUBMIT with any other.
        body_bytes: largest body.
        json: bounds of what a JSON body holds.
        takes_file: whether a form may be as large as the project's upload limit: files are written to the disk as they
            arrive, any other body is read into memory.
        takes_archive: whether a body that is not JSON may be as large as a base model: it is unpacked as it arrives.
        limits_reads: whether reads count against the read concurrency limit.
        audits_reads: whether the audit log records reads too; it records all changes.
    """

    public: frozenset[str] = frozenset()
    role: Role | None = None
    body_bytes: int = JSON_BYTES
    json: JsonBounds = JsonBounds()
    takes_file: bool = False
    takes_archive: bool = False
    limits_reads: bool = True
    audits_reads: bool = False

    def is_public(self, method: str) -> bool:
        """Tell whether a method needs no key."""
        return method in self.public or self.public is EVERY_METHOD

    def required_role(self, method: str) -> Role:
        """Return the lowest role that allows a method."""
        return self.role or (Role.READ if method in SAFE_METHODS else Role.SUBMIT)

    def is_read_limited(self, method: str) -> bool:
        """Tell whether a method counts against the read concurrency limit."""
        return self.limits_reads and method in SAFE_METHODS

    def is_audited(self, method: str) -> bool:
        """Tell whether the audit log records a method."""
        return self.audits_reads or method not in SAFE_METHODS


DEFAULT = Policy()
# Words of texts; images in base64.
PREDICTS = Policy(body_bytes=IMAGES_BYTES, json=JsonBounds(values=20_000, characters=IMAGES_BYTES))
POLICIES: Mapping[str, Policy] = {
    # Health checks must be served while all reads wait for a database.
    "/healthz": Policy(public=EVERY_METHOD, limits_reads=False),
    "/readyz": Policy(public=EVERY_METHOD, limits_reads=False),
    # Scripts and style of the pages that sign a browser in.
    "/enter.js": Policy(public=EVERY_METHOD),
    "/signin.js": Policy(public=EVERY_METHOD),
    "/style.css": Policy(public=EVERY_METHOD),
    "/favicon.ico": Policy(public=EVERY_METHOD),
    # The page's files are the same for everyone; what they show needs a key.
    "/static/{name:path}": Policy(public=EVERY_METHOD, limits_reads=False),
    "/signin": Policy(public=frozenset({"GET", "POST"})),  # the route itself checks the code or key in the body
    "/signout": Policy(role=Role.READ),  # changes only the caller's own session
    "/audit": Policy(role=Role.ADMIN),
    "/models": Policy(takes_archive=True, limits_reads=False),  # may wait for the inspection of a model
    "/models/{name:path}": Policy(limits_reads=False),  # likewise, as do spectra
    "/workers/drain": Policy(role=Role.ADMIN),
    "/workers/undrain": Policy(role=Role.ADMIN),
    "/datasets": Policy(takes_file=True),
    "/v1/files": Policy(takes_file=True),
    "/v1/chat/completions": Policy(body_bytes=CHAT_BYTES, json=JsonBounds(values=50_000, characters=CHAT_BYTES)),
    "/v1/completions": Policy(body_bytes=CHAT_BYTES, json=JsonBounds(characters=CHAT_BYTES)),
    "/jobs/{job_id}/predict": PREDICTS,
    "/jobs/{job_id}/predict/stream": PREDICTS,
    "/registry/{reference}/predict": PREDICTS,
    "/registry/{reference}/predict/stream": PREDICTS,
    "/jobs/{job_id}/artifacts/{name}": Policy(audits_reads=True),  # exports a trained model
}

_TEMPLATES = [(compile_path(template)[0], policy) for template, policy in POLICIES.items() if "{" in template]


@lru_cache(maxsize=4096)
def policy_of(path: str) -> Policy:
    """Return the policy of a request's path."""
    if policy := POLICIES.get(path):
        return policy
    return next((policy for pattern, policy in _TEMPLATES if pattern.match(path)), DEFAULT)
