"""Who may read the home folder: its owner only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISLNK

from service.shared.storage.home import Home

OTHERS = 0o077  # group and everybody else
MOST_SHOWN = 1_000


def keep_private(home: Path) -> None:
    """Give what this process and its children write to their owner alone, and close the home folder to all others."""
    os.umask(OTHERS)
    with suppress(FileNotFoundError, PermissionError):  # not there yet, or somebody else's, as `adamss doctor` says
        if (mode := home.stat().st_mode) & OTHERS:
            home.chmod(mode & ~OTHERS & 0o7777)


def wider_paths(home: Home) -> list[Path]:
    """List the home folder and what is in it where others than the owner have a right; base models are not secret."""
    return list(islice((path for path, mode in _modes(home, home.root) if mode & OTHERS), MOST_SHOWN))


def _modes(home: Home, path: Path) -> Iterator[tuple[Path, int]]:
    with suppress(OSError):  # removed meanwhile, or closed to us
        mode = path.lstat().st_mode
        if S_ISLNK(mode) or home.is_model(path):
            return
        yield path, mode
        if S_ISDIR(mode):
            for entry in sorted(path.iterdir()):
                yield from _modes(home, entry)
