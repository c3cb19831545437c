"""One table of route policies: what the gate asks of a request before any code of its route runs.

Strict by default, so that a route that is added later cannot be forgotten: it needs a key, a key that may submit for
whatever is not safe, and it takes a small body.
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
IMAGES_BYTES = 8 * 1024 * 1024  # a few images to predict from


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules for one route.

    Attributes:
        public: methods that are answered without a key.
        role: role that a key needs; None stands for READ with a safe method, SUBMIT with any other.
        body_bytes: largest body.
        takes_file: whether a form may be as large as the project's upload limit: files go to the disk as they arrive,
            any other body is read into memory.
        limits_reads: whether a read waits for one of the few places that are worked on at a time.
        audits_reads: whether reads are recorded in the audit log, as all changes are.
    """

    public: frozenset[str] = frozenset()
    role: Role | None = None
    body_bytes: int = JSON_BYTES
    takes_file: bool = False
    limits_reads: bool = True
    audits_reads: bool = False

    def is_public(self, method: str) -> bool:
        return method in self.public or self.public is EVERY_METHOD

    def required_role(self, method: str) -> Role:
        return self.role or (Role.READ if method in SAFE_METHODS else Role.SUBMIT)

    def is_read_limited(self, method: str) -> bool:
        return self.limits_reads and method in SAFE_METHODS

    def is_audited(self, method: str) -> bool:
        return self.audits_reads or method not in SAFE_METHODS


DEFAULT = Policy()
POLICIES: Mapping[str, Policy] = {
    # Health must be answered while all reads wait for a database.
    "/healthz": Policy(public=EVERY_METHOD, limits_reads=False),
    "/readyz": Policy(public=EVERY_METHOD, limits_reads=False),
    "/enter.js": Policy(public=EVERY_METHOD),  # script of the page that a sign-in link opens
    "/signin": Policy(public=frozenset({"GET", "POST"})),  # the route itself checks the code or key in the body
    "/signout": Policy(role=Role.READ),  # changes nothing but who the caller is
    "/audit": Policy(role=Role.ADMIN),
    "/models": Policy(limits_reads=False),  # may wait for a process that reads a model
    "/datasets": Policy(takes_file=True),
    "/jobs/{job_id}/predict": Policy(body_bytes=IMAGES_BYTES),
    "/jobs/{job_id}/artifacts/{name}": Policy(audits_reads=True),  # carries a trained model out
}

_TEMPLATES = [(compile_path(template)[0], policy) for template, policy in POLICIES.items() if "{" in template]


@lru_cache(maxsize=4096)
def policy_of(path: str) -> Policy:
    """Return the policy of a request's path."""
    if policy := POLICIES.get(path):
        return policy
    return next((policy for pattern, policy in _TEMPLATES if pattern.match(path)), DEFAULT)
