"""The processes of a job on several devices, as the system shows them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from service.shared.storage.home import JobFolder
from tests.worker.support import is_alive


@dataclass(frozen=True)
class RankProcesses:
    """The launcher of a job's ranks, and the ranks.

    Attributes:
        launcher: process id; 0 where no rank is there.
        ranks: process id by rank.
    """

    launcher: int
    ranks: dict[int, int]

    @property
    def living(self) -> list[int]:
        return [pid for pid in (self.launcher, *self.ranks.values()) if pid and is_alive(pid)]

    def kill(self, name: str) -> None:
        """Kill the launcher, or a rank by its number."""
        os.kill(self.launcher if name == "launcher" else self.ranks[int(name)], signal.SIGKILL)


def rank_processes(folder: JobFolder) -> RankProcesses:
    """Return the processes of a job that live."""
    found: dict[int, int] = {}
    parents: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            variables = dict(one.split(b"=", 1) for one in (entry / "environ").read_bytes().split(b"\0") if b"=" in one)
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if str(folder.path).encode() in words and b"RANK" in variables:
            found[int(variables[b"RANK"])] = int(entry.name)
            parents.add(parent)
    return RankProcesses(max(parents, default=0), found)
