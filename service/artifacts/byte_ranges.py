"""Parse the Range header of a download."""

from __future__ import annotations

import re
import sys

RANGE = r"(\d{1,18}-\d{0,18}|-\d{1,18})"
RANGES = re.compile(rf"bytes=\s*{RANGE}(\s*,\s*{RANGE})*\s*")


def parse_ranges(header: str | None) -> list[int]:
    """Return the first bytes of the requested ranges; empty if the header is missing or malformed.

    A suffix range (the last N bytes) counts as beginning at 0, or beyond any end if N is 0.
    """
    if header is None or not RANGES.fullmatch(header):
        return []
    pairs = [part.strip().split("-") for part in header.removeprefix("bytes=").split(",")]
    if any(begin and end and int(begin) > int(end) for begin, end in pairs):
        return []
    return [int(begin) if begin else 0 if int(end) else sys.maxsize for begin, end in pairs]


def single_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte of the only range that is asked for, and the one after its last; None for the whole file.

    Several ranges are answered by the whole file, as RFC 9110 allows.
    """
    if header is None or "," in header or not parse_ranges(header):
        return None
    begin, end = header.removeprefix("bytes=").strip().split("-")
    if not begin:
        return max(0, size - int(end)), size
    return int(begin), min(size, int(end) + 1) if end else size
