"""Failpoints: named lines at which a test makes a process die, freeze or fail, by `FAILPOINT=name[@rank]:action[:n]`.

With `rank`, the failpoint acts in that process of a job of several devices only; with `n`, the n-th time it is reached.
Without the variable no failpoint acts.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import Counter
from typing import Literal

# In the order in which a job passes them.
FailpointName = Literal[
    "after_submit",  # the job is committed, the answer is not sent
    "before_claim",
    "after_claim",  # before the first heartbeat
    "loading",  # the training process, before the core begins
    "gradients",  # within a step, for each micro-batch
    "loss",  # of a step: `nan` makes it one
    "mid_step",
    "checkpoint",  # its files are written, its name is not
    "artifact",  # for each: its content is written, nothing is verified
    "contender",  # one is loaded, and not trained yet
    "before_publish",  # training is done, nothing is published
    "before_commit",  # artifacts are renamed, the transaction is open
    "collecting",  # a worker, before it moves a file without a row
]

_reached: Counter[str] = Counter()
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "segv": signal.SIGSEGV}


class InjectedFault(RuntimeError):
    """Raised by `FAILPOINT=name:raise`."""


def failpoint(name: FailpointName) -> bool:
    """Carry out the action configured for this failpoint; return whether the caller must make its value NaN.

    Actions: kill, stop, segv; raise (an unexpected error), oom (out of memory), full (no space on the disk); nan.
    """
    configured = os.environ.get("FAILPOINT")
    if not configured:
        return False
    place, _, rest = configured.partition(":")
    configured_name, _, rank = place.partition("@")
    if configured_name != name or rank not in ("", os.environ.get("RANK", "0")):
        return False
    action, _, count = rest.partition(":")
    _reached[name] += 1
    if _reached[name] != int(count or 1):
        return False
    print(f"failpoint {name}: {action}", file=sys.stderr, flush=True)
    if action == "raise":
        raise InjectedFault(f"The fault injected at {name}.")
    if action == "oom":
        raise MemoryError(f"out of memory, injected at {name}")
    if action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[action])
    return action == "nan"
