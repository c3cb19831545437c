"""Compare the classes of a head that was trained before with a job's.

The names in `id2label` give a head's outputs their meaning: two models with as many classes may have them in another
order, or know other classes altogether.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

SHOWN = 5  # names in a message
# What to do to have a head taken over, by whose it is.
RENAME_LABELS = "To take it over, give the labels of the data the names of its classes."
SAME_DATA = "To take it over, use data with the same classes."


def match_classes(theirs: Sequence[str], mine: Sequence[str]) -> list[int] | None:
    """Return for each of my classes the position of the same class among theirs; None unless all are the same.

    Names that differ only in case, or in spaces, underscores and hyphens, are the same. transformers calls a class
    without a name LABEL_<id>: it is the same as a class whose name is that number.
    """
    for known in (theirs, [_placeholder_id(name) or name for name in theirs]):
        for key in (str, str.casefold, _letters):
            if (order := _order(known, mine, key)) is not None:
                return order
    return None


def head_starts_afresh(owner: str, theirs: Sequence[str], mine: Sequence[str], remedy: str) -> str:
    """Return the sentences that a head is not taken over, and what to do about it.

    Args:
        owner: whose head it is, as the subject of a sentence.
        remedy: for classes with names.
    """
    if any(_placeholder_id(name) is None for name in theirs):
        classes = f"for {_shown(theirs)}, but this job's classes are {_shown(mine)}"
    else:
        classes = f"whose {len(theirs)} classes have no names ({_shown(theirs)})"
        remedy = "To take it over, set id2label in the config.json of the base model to the names of its classes."
    return f"{owner} has a head {classes}: the head starts afresh. {remedy}"


def is_surprising(theirs: Sequence[str], mine: Sequence[str]) -> bool:
    """Return whether users may expect that a head is taken over although its classes are others."""
    return len(theirs) == len(mine) or not {_letters(name) for name in theirs}.isdisjoint(map(_letters, mine))


def _order(theirs: Sequence[str], mine: Sequence[str], key: Callable[[str], str]) -> list[int] | None:
    """Return the positions by a name's key; None where keys are ambiguous or differ."""
    positions = {key(name): position for position, name in enumerate(theirs)}
    keys = [key(name) for name in mine]
    if len(theirs) != len(mine) or len(positions) != len(theirs) or set(keys) != set(positions):
        return None
    return [positions[name] for name in keys]


def _letters(name: str) -> str:
    """Return a name without case and without what separates its words."""
    return re.sub(r"[\s_-]", "", name).casefold()


def _placeholder_id(name: str) -> str | None:
    """Return the number in transformers' name for a class without a name; None for other names."""
    number = name.removeprefix("LABEL_")
    return number if number != name and number.isdecimal() else None


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name[:40]}'" for name in names[:SHOWN]) + more
