"""Training takes all the cores there are; on a machine that also answers people, they come first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")


def give_way() -> None:
    """Lowers this process's claim to the processors; to be called once, at its start.

    Linux desktops and many servers weigh sessions, not processes, against each other (autogroups, sched(7)): there a
    process's niceness counts only inside its session, so whoever leads one lowers the session as well.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no such file without autogroups
            _AUTOGROUP.write_text(str(NICENESS))
