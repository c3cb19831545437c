"""Limit of guesses: credentials that are not known to be valid count against their sender's address."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock

from starlette.types import Scope

from service.keys.service import digest_of

MOST_KNOWN = 10_000
IPV6_PREFIX = 64  # one customer's addresses


class KnownCredentials:
    """Hashes of credentials that were valid when they were last looked up, the newest `MOST_KNOWN` of them.

    They are looked up as ever, but are no guesses: so that somebody who guesses keys behind a shared address keeps out
    nobody else who works there.
    """

    def __init__(self) -> None:
        self._digests: dict[str, None] = {}  # in the order of use
        self._lock = Lock()

    def __contains__(self, secret: str) -> bool:
        return digest_of(secret) in self._digests

    def note(self, secret: str, valid: bool) -> None:
        """Remember the result of a look-up."""
        digest = digest_of(secret)
        with self._lock:
            self._digests.pop(digest, None)
            if valid:
                self._digests[digest] = None
            if len(self._digests) > MOST_KNOWN:
                del self._digests[next(iter(self._digests))]


def sender_address(scope: Scope) -> str:
    """Return the sender's address, of IPv6 the network that one customer has: a limit counts by it."""
    client = scope.get("client")
    if not client:
        return "unknown"
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))
