"""Opaque ids with a prefix that says what they name."""

from __future__ import annotations

import secrets

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: ids get read aloud and typed
LENGTH = 20  # 100 bits


def new_id(prefix: str) -> str:
    """Such as `job_4k7...`; prefixes are job, ds, key, proj."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
