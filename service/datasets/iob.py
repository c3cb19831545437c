"""Tags of words: the spellings of IOB, and BIO, into which they are brought."""

from __future__ import annotations

import re
from collections.abc import Sequence

IOB = re.compile(r"O|[BI]-\S.*")
# IOBES and BILOU too, which training takes as they are.
ANY_IOB = re.compile(r"O|[BIESLUM]-\S.*")


def to_bio(tags: Sequence[str]) -> tuple[list[str], bool]:
    """Return the tags with a B- where an entity begins, and whether any tag was another.

    In IOB1 an entity begins with I-, and with B- only directly after another of its kind. Tags that are not IOB are
    returned as they are.
    """
    written = list(tags)
    if not all(IOB.fullmatch(tag) for tag in written):
        return written, False
    before = "O"
    for place, tag in enumerate(written):
        if tag.startswith("I-") and before[2:] != tag[2:]:
            written[place] = f"B-{tag[2:]}"
        before = written[place]
    return written, written != list(tags)
