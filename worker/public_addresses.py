"""Judge the addresses that a receiver's name leads to: webhooks must not reach the operator's own network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

# All of IPv6 that is handed out to hosts. Outside lie the addresses that carry an IPv4 one (::a.b.c.d,
# ::ffff:0:a.b.c.d, 64:ff9b::/96, 64:ff9b:1::/48) and those of a site (fec0::/10, fc00::/7, fe80::/10).
_UNICAST = IPv6Network("2000::/3")
_RESERVED_6 = (
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
_RESERVED_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))  # protocols; relays to 6to4
_ISATAP = 0x5EFE  # RFC 5214: upper half of an interface id whose lower half is an IPv4 address
_ISATAP_MASK = 0xFDFFFFFF  # without the bit that says whether that address is unique in the world


class ForbiddenAddress(ValueError):
    """The host resolves to an address in the operator's own network."""


def public_address(
    url: httpx.URL, *, allow_private: bool, look_up: Callable[..., list[tuple[object, ...]]] | None = None
) -> str:
    """Resolve the URL's host to an address. All its addresses must be public, unless private ones are allowed.

    Raises:
        ForbiddenAddress: one of them is not public.
        OSError: the name does not resolve.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    entries = (look_up or socket.getaddrinfo)(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in entries]  # type: ignore[index]
    for address in addresses:
        if not allow_private and not is_public(address):
            raise ForbiddenAddress(f"{url.host} leads to {address}, which is not a public address.")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an address is public, also if an IPv6 address carries an IPv4 one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return _is_public_4(ip)
    if ip.ipv4_mapped is not None:
        return _is_public_4(ip.ipv4_mapped)
    return _is_public_6(ip)


def _is_public_4(ip: IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _RESERVED_4)


def _is_public_6(ip: IPv6Address) -> bool:
    if ip not in _UNICAST or not ip.is_global or any(ip in network for network in _RESERVED_6):
        return False
    return (int(ip) >> 32) & _ISATAP_MASK != _ISATAP
