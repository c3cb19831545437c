"""Bounds of a JSON body, counted in its bytes before anything parses it.

Parsing and validation run in the event loop, and take longer than counting by two orders of magnitude: a megabyte of
invalid list members held every request up for ten seconds. Each step here is one pass in C.
"""

from __future__ import annotations

from itertools import accumulate

from service.http.routes import JsonBounds
from service.shared.errors import BadRequest, InvalidRequest, TooLarge

_ALL_BUT_BRACKETS = bytes(frozenset(range(256)) - frozenset(b"[]{}"))
_DIGITS = bytes(ord("0") if byte in b"+-.0123456789Ee" else ord(" ") for byte in range(256))


def check_json(body: bytes, bounds: JsonBounds) -> None:
    """Refuse a body beyond its bounds; what is not JSON may pass, as its parser refuses it soon.

    Raises:
        BadRequest: the body is not UTF-8, or nested too deeply.
        TooLarge: it has too many values, or too long a string.
        InvalidRequest: it has a number of too many digits, or a NUL in a string.
    """
    if b"\0" in body:  # in UTF-16 and UTF-32, which `json` detects; a NUL in UTF-8 is no JSON
        raise BadRequest("The body is not valid JSON: it must be UTF-8.", code="invalid_json")
    # Escapes become fillers of the same length, so that each quote left begins or ends a string.
    plain = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
    if rb"\u0000" in plain:  # PostgreSQL takes it into a JSON value, and then fails at every look into that value
        raise InvalidRequest(r"A string in the body has a NUL character (\u0000). Remove it.", code="invalid_field")
    if plain.count(b'"') > 4 * bounds.values:  # a name and a string for each value
        raise _too_many(bounds)
    pieces = plain.split(b'"')
    if max(map(len, pieces[1::2]), default=0) > bounds.characters:
        raise TooLarge(f"A string in the body is longer than {bounds.characters:,} bytes.", code="body_too_large")
    _check_structure(b"".join(pieces[::2]), bounds)


def _check_structure(structure: bytes, bounds: JsonBounds) -> None:
    """Check what is left of a body without its strings."""
    containers = structure.count(b"[") + structure.count(b"{")
    brackets = structure.translate(None, _ALL_BUT_BRACKETS)[: 2 * bounds.values]
    if max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > bounds.depth:
        raise BadRequest(f"The body is nested more than {bounds.depth} levels deep.", code="malformed_request")
    if 1 + containers + structure.count(b",") > bounds.values:
        raise _too_many(bounds)
    if b"0" * (bounds.digits + 1) in structure.translate(_DIGITS):
        raise InvalidRequest(f"A number in the body has more than {bounds.digits} digits.", code="invalid_field")


def _too_many(bounds: JsonBounds) -> TooLarge:
    return TooLarge(f"The body holds more than {bounds.values:,} values, nested ones included.", code="body_too_large")
