"""Names of classes: one for each class however it is written, and names that may be the same by mistake."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9]\d{0,17}))\.0+")  # 1.0 and 1.00, but not versions and codes such as 01.0
_LAST_SIGNS = frozenset("0eE")  # of whole numbers that end in .0, of true and false
TRUTHS = {"true": "1", "false": "0"}
NULL_WORDS = frozenset({"nan", "+nan", "-nan", "null", "none", "na", "n/a", "#n/a"})


def as_text(value: Any) -> str:
    """Return the cell as text; empty for None and NaN."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def class_name(value: Any) -> str:
    """Return one name for one class, however it was written: 1, 1.0, "1.0" and " 1 " are equal, true and "True" too."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = value.strip() if isinstance(value, str) else as_text(value)
    if text[-1:] not in _LAST_SIGNS:  # nearly all texts, of which each cell of an upload is one
        return text
    if len(text) <= len("false") and text.lower() in ("true", "false"):
        return text.lower()
    whole = WHOLE_NUMBER.fullmatch(text)
    return text if whole is None else str(int(whole[1]))


def variants(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ in case, blanks, invisible signs or the encoding of a letter only.

    "true" and "1" are one group, and "false" and "0".
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        visible = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
        key = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
        groups.setdefault(TRUTHS.get(key, key), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def is_share(name: str) -> bool:
    """Return whether a name is a number from 0 to 1, or a truth: an entry of a vector with a place for each class."""
    try:
        return name in ("true", "false") or 0 <= float(name) <= 1
    except ValueError:
        return False


def null_words(names: Iterable[str]) -> list[str]:
    """Return the names by which tables spell a missing value."""
    return [name for name in names if name.lower() in NULL_WORDS]
