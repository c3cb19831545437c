"""How cells are read: what counts as empty, and by which name a class is known."""

from __future__ import annotations

import math
from typing import Any


def as_text(value: Any) -> str:
    """The cell as text, empty where there is nothing in it."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def class_name(value: Any) -> str:
    """One name for one class, however it was written: 1, 1.0, "1" and " 1 " are the same, true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return as_text(value)
