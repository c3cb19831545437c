"""Sizes of files in words."""

from __future__ import annotations


def size_in_words(size: float) -> str:
    """Format a number of bytes in the largest unit that it fills."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
