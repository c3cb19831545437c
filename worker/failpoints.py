"""Places where a test can make a process die, freeze or fail: `FAILPOINT=name:kill|stop|raise[:n]`.

With `n`, it happens the n-th time the place is reached. Without the variable nothing happens anywhere.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from typing import Literal

# In the order in which a job passes them.
Place = Literal[
    "before_claim",
    "after_claim",  # before the first heartbeat
    "loading",  # the training process, before the core begins
    "mid_step",
    "before_publish",  # training is done, nothing is published
    "before_commit",  # artifacts are renamed, the transaction is open
]

_reached: Counter[str] = Counter()


class InjectedFault(RuntimeError):
    """Raised by `FAILPOINT=name:raise`."""


def failpoint(name: Place) -> None:
    wanted = os.environ.get("FAILPOINT")
    if not wanted:
        return
    place, _, rest = wanted.partition(":")
    if place != name:
        return
    action, _, count = rest.partition(":")
    _reached[name] += 1
    if _reached[name] != int(count or 1):
        return
    print(f"failpoint {name}: {action}", file=sys.stderr, flush=True)
    if action == "raise":
        raise InjectedFault(f"The fault injected at {name}.")
    os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)
