"""Look at the processes that torch's launcher has started beside this one, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether `torch.distributed.run` is the parent of this process."""
    return "TORCHELASTIC_RUN_ID" in environment


def peers_live(ranks: int) -> bool:
    """Return whether the launcher still has all its ranks; True where the system does not tell."""
    launcher = os.getppid()
    with suppress(OSError):
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        return sum(map(_lives, children)) >= ranks
    return True


def _lives(pid: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
