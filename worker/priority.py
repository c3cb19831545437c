"""Lower the priority of training, which takes all cores: on a machine that also serves requests, those come first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority() -> None:
    """Raise the niceness of this process; called once, at its start.

    Linux desktops and many servers weigh sessions, not processes, against each other (autogroups, sched(7)): a
    process's niceness then counts only inside its session, so a session leader lowers its session as well.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no such file without autogroups
            _AUTOGROUP.write_text(str(NICENESS))
