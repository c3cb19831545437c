"""Make JSON always valid: NaN and infinities, which a diverging run reports, become null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def clean(value: Any) -> Any:
    """Copy a value into plain JSON types; numpy and torch scalars become numbers, other objects their text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(entry) for entry in value]
    if callable(plain := getattr(value, "tolist", None)):
        return clean(plain())
    return str(value)
