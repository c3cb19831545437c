"""Read how much RAM is left."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def available_ram(root: Path = Path("/")) -> int | None:
    """Return the bytes of RAM that new processes may take: the system's, or the container's where that is less.

    Args:
        root: of the file systems `proc` and `sys`.
    """
    found = [value for value in (_meminfo(root / "proc/meminfo"), _cgroup(root / "sys/fs/cgroup")) if value is not None]
    return min(found, default=None)


def _meminfo(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup(folder: Path) -> int | None:
    """Return the memory that a control group of version 2 leaves; None without a limit."""
    with suppress(OSError, ValueError):
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        return max(0, limit - used)
    return None
