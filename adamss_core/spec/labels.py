"""Read cells: which ones count as empty, and the name of a class."""

from __future__ import annotations

import math
from typing import Any


def as_text(value: Any) -> str:
    """Return the cell as text; empty for None and NaN."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def class_name(value: Any) -> str:
    """Return one name for one class, however it was written: 1, 1.0, "1" and " 1 " are equal, true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return as_text(value)
