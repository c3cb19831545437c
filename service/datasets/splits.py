"""Names of the splits of a data set: which part of it a file or folder is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

TRAIN, EVAL, TEST = "train", "eval", "test"
# Split, as the hub names it -> the words by which files and folders say that they belong to it.
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
ROLES = {"train": TRAIN, "validation": EVAL, "test": TEST}  # what a job does with a split
YEAR = re.compile(r"[-_]?\d+$")  # as in val2017
SHARD = re.compile(r"(^|[-_.])(\d+|of|part|shard|chunk|data)(?=[-_.]|$)")


def words_of(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def role_of(folders: Iterable[str], stem: str = "") -> str | None:
    """Return train, eval or test by the names of the folders, else by a word of the file's own name."""
    for folder in folders:
        for split, words in WORDS.items():
            if YEAR.sub("", folder.lower()) in words:
                return ROLES[split]
    of_stem = {YEAR.sub("", word) for word in words_of(stem)}
    named = [ROLES[split] for split, words in WORDS.items() if of_stem & set(words)]
    return named[0] if len(named) == 1 else None


def other_name(path: PurePosixPath) -> str:
    """Return the name of a split that no word tells: that of the file without its number, or of its folder."""
    stem = path.name.partition(".")[0]
    return SHARD.sub("", stem.lower()).strip("-_.") or (path.parts[-2] if len(path.parts) > 1 else stem)
