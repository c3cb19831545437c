"""Text of others, shown without being obeyed by the terminal or editor that displays it."""

from __future__ import annotations

import re

# C0, DEL, C1, marks and controls of direction, separators of lines and paragraphs, halves of surrogate pairs
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str, kept: str = "") -> str:
    """Return the text with each control character, except those in `kept`, as an escape such as `\\x1b`."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in kept else _escape(found[0]), text)


def _escape(sign: str) -> str:
    return _SHORT.get(sign) or (f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}")
