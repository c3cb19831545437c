"""Start one training process for each device of a job, with torch's launcher, and tell the ranks apart.

The launcher passes its standard input on to all ranks: rank 0 reads orders from it, the others only see it close. It
puts each rank into a session of its own, so a signal to the launcher's group reaches none of them: they die with it.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import NoReturn

from service.shared.processes.forkserver import LEAN
from service.shared.processes.spawned_process import python
from worker.parent_pipe import end_group

LAUNCHER = "torch.distributed.run"
LOCAL = "127.0.0.1"  # where ranks meet; else they look up the host's own name, which need not be known to anybody


def launch_command(module: str, folder: Path, devices: int, *, lean: bool) -> list[str]:
    """Return the command that starts the ranks of a job.

    Args:
        lean: leave out bitsandbytes, as the fork server does.
    """
    started = [LEAN, module] if lean else [module]
    ranks = ["--standalone", "--nproc-per-node", str(devices), "--max-restarts", "0", "--local-addr", LOCAL]
    return python(LAUNCHER, *ranks, "-m", *started, str(folder))


def rank_environment(devices: int) -> dict[str, str]:
    """Return what the environment of ranks has besides that of a single process."""
    threads = max(1, len(os.sched_getaffinity(0)) // devices)
    # Without the current folder in their path: the launcher starts them without -P. The ranks are of one host.
    return {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1", "GLOO_SOCKET_IFNAME": "lo"}


def own_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return the rank of this process, and how many there are."""
    return int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))


def log_format(rank: int, ranks: int) -> str:
    """Return the format of log lines, which name the rank where there are several."""
    named = f"[rank {rank}] " if ranks > 1 else ""
    return f"%(asctime)s {named}%(levelname)s %(name)s: %(message)s"


def leave(status: int) -> NoReturn:
    """End this rank at once. The interpreter would first take torch apart, for seconds of CPU time, while the launcher
    waits for the rank's end."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def end_with_pipe() -> None:
    """Have a thread end this rank once the supervisor's end of the standard input closes, without reading from it."""
    handle = os.dup(0)
    with Path(os.devnull).open("rb") as empty:
        os.dup2(empty.fileno(), 0)
    Thread(target=_wait_for_close, args=(handle,), name="parent", daemon=True).start()


def _wait_for_close(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, 0)  # POLLHUP is always reported
    poll.poll()
    end_group()
