"""The release before this one, unpacked from the history of the repository, for upgrades with both releases at work."""

from __future__ import annotations

import subprocess
from pathlib import Path

COMMIT = "86a42be"  # the only place that names it; a new release puts its predecessor's commit here
ROOT = Path(__file__).parents[2]


def unpack(folder: Path) -> str | None:
    """Unpack its source into an empty folder; return why that cannot be done, or None."""
    if not (ROOT / ".git").exists():
        return "the previous release is taken from the history of git, and this is no clone"
    known = subprocess.run(
        ["git", "-C", str(ROOT), "cat-file", "-e", f"{COMMIT}^{{commit}}"], capture_output=True, check=False
    )
    if known.returncode != 0:
        return f"the history of this clone does not reach back to {COMMIT}; fetch it with git fetch --unshallow"
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", COMMIT], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return None
