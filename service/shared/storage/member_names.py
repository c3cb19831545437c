"""Names of an archive's members, as strangers write them."""

from __future__ import annotations

from pathlib import PurePosixPath


def is_safe(name: str) -> bool:
    """Return whether a path stays in the folder that it is read from."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\\0") or name[1:2] == ":")
