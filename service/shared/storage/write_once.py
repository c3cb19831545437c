"""Write a file that any of several processes may be the first to write."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_once(path: Path, text: str) -> str:
    """Write one line to a file that only its owner may read, unless it exists; return the line that it has then."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        partial.touch(0o600)
        partial.write_text(f"{text}\n")
        try:
            os.link(partial, path)
        except FileExistsError:  # another process was quicker: its line holds
            pass
        finally:
            partial.unlink()
    return path.read_text().strip()
