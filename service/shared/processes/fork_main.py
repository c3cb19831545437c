"""The fork server: import modules once, then fork a process for each order that arrives.

`python -m service.shared.processes.fork_main SOCKET MODULE...`, started by `forkserver.ForkServer`. It has one thread,
does nothing but fork, and ends with the other side of its socket, or when a library has opened CUDA, which does not
survive a fork: processes are then started anew.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import selectors
import socket
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from setproctitle import setproctitle

from service.shared.logs import configure_logging
from service.shared.processes.become import become
from service.shared.processes.forked_process import MESSAGE
from service.shared.processes.spawned_process import kill_group

logger = logging.getLogger(__name__)

MAX_ORDER_BYTES = 2**20
STREAMS = 3  # stdin, stdout, stderr


def main() -> object:
    """Serve; in each forked process, return what the `main` of its module returns."""
    configure_logging()
    # Before the first fork: a title lies where the environment was at the start, and is found by it.
    setproctitle(f"adamss fork server of process {os.getppid()}")
    begun = monotonic()
    gc.disable()  # imports leave next to no garbage, and looking for it takes a sixth of their time
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.enable()
    if _has_cuda():
        logger.warning("a library opened CUDA while it was imported: processes are started anew, not forked")
        return 0
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page that is shared with the forked processes
    shown = {"seconds": round(monotonic() - begun, 1), "memory_bytes": _memory_bytes()}
    logger.info("fork server: ready", extra=shown)
    order = ForkLoop(socket.socket(fileno=int(sys.argv[1]))).run()
    return 0 if order is None else become(order)


class ForkLoop:
    """Fork a process for each order, and report how each one ended.

    Args:
        orders: the socket; the other side holds the order's three streams and one pipe for what is reported.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._selector = selectors.DefaultSelector()
        self._selector.register(orders, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}  # pidfd -> process id, pipe

    def run(self) -> dict[str, Any] | None:
        """Return None when the other side is gone, and in each forked process its order."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._running:
                    self._reap(key.fd)
                    continue
                content, handles, _, _ = socket.recv_fds(self._orders, MAX_ORDER_BYTES, STREAMS + 1)
                if not content:
                    for pid, _ in self._running.values():
                        kill_group(pid)
                    return None
                if (pid := os.fork()) == 0:
                    self._leave(handles[STREAMS])
                    return {**json.loads(content), "streams": handles[:STREAMS]}
                self._watch(pid, handles)

    def _watch(self, pid: int, handles: list[int]) -> None:
        for stream in handles[:STREAMS]:
            os.close(stream)
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = (pid, handles[STREAMS])
        self._selector.register(pidfd, selectors.EVENT_READ)
        if not _report(handles[STREAMS], pid):  # whoever asked for the process has given it up
            kill_group(pid)

    def _reap(self, pidfd: int) -> None:
        pid, pipe = self._running.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _report(pipe, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(pipe)

    def _leave(self, own: int) -> None:
        """Close the server's side of everything, in a forked process."""
        self._selector.close()
        self._orders.close()
        os.close(own)
        for pidfd, (_, pipe) in self._running.items():
            os.close(pidfd)
            os.close(pipe)


def _report(pipe: int, value: int) -> bool:
    try:
        os.write(pipe, MESSAGE.pack(value))
    except BrokenPipeError:
        return False
    return True


def _has_cuda() -> bool:
    return "libcuda.so" in Path("/proc/self/maps").read_text()


def _memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[arg-type]
