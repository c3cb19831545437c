"""Opaque ids, prefixed with the kind of thing that they name."""

from __future__ import annotations

import re
import secrets

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: ids get read aloud and typed
LENGTH = 20  # 100 bits


def new_id(prefix: str) -> str:
    """Make a random id such as `job_4k7...`; prefixes are job, ds, model, key, proj, msg."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_id(prefix: str, value: object) -> bool:
    """Tell whether a value has the form of an id with this prefix."""
    return isinstance(value, str) and re.fullmatch(f"{prefix}_[{ALPHABET}]{{{LENGTH}}}", value) is not None
