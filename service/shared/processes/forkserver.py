"""Fork processes from one that has imported their libraries already: six of the seven seconds of CPU time that a
process on a model needs before its first line of work are imports, and nearly all of the second that an upload takes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer

from service.shared.processes.forked_process import ForkedProcess
from service.shared.processes.spawned_process import Launch, Process, SpawnedProcess, TimeoutExpired, python

SERVER = "service.shared.processes.fork_main"
LEAN = "adamss_core.lean"  # the server leaves out bitsandbytes, so a process that is started anew does too
MAX_SERVERS = 2  # environments in use at a time: models of the hub are read online, those of a folder offline

# Set in a forked process, or read when it begins its work: these may differ from the server's.
LATE = ("CUDA_VISIBLE_DEVICES", "FAILPOINT", "OMP_NUM_THREADS")
# While the server imports. BLAS libraries start their threads then, and threads do not survive a fork; torch must ask
# the driver's management library for GPUs, as CUDA cannot be used on both sides of a fork.
IMPORTING = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


class ForkServer:
    """Start modules of ours as processes, forked where that is possible and started anew elsewhere.

    A server process starts with the first process that needs it, ends after `idle_seconds` without one, and ends at
    once with this process. Libraries read the environment while they are imported, so each environment needs a server
    of its own.

    Args:
        modules: imported by the server, in this order.
        idle_seconds: 0 starts each process anew.
        late: further variables that no import of these modules reads.
    """

    def __init__(self, modules: Sequence[str], idle_seconds: float, late: Sequence[str] = ()) -> None:
        self._modules, self._idle_seconds, self._late = tuple(modules), idle_seconds, frozenset((*LATE, *late))
        self._usable = idle_seconds > 0 and sys.platform == "linux"  # elsewhere libraries do not survive a fork
        self._lock = Lock()
        self._servers: list[_Server] = []
        self._timer: Timer | None = None

    def start(self, module: str, arguments: Sequence[str], launch: Launch) -> Process:
        """Run `main()` of a module as a process; return at once, also while the server imports."""
        command = python(LEAN, module, *arguments)
        with self._lock:
            server = self._server_for(launch.environment) if self._usable else None
            if server is None:
                return SpawnedProcess(command, launch)
            self._start_timer()
            return server.fork(module, arguments, launch, lambda own: SpawnedProcess(command, own))

    def starter(self, module: str, *arguments: str) -> Callable[[Launch], Process]:
        """Return a function that starts one module, as `ask` takes it."""
        return lambda launch: self.start(module, arguments, launch)

    def close(self) -> None:
        """End the servers and every process that was forked from them."""
        with self._lock:
            self._usable = False
            if self._timer is not None:
                self._timer.cancel()
            for server in self._servers:
                server.close()
            self._servers = []

    def _server_for(self, environment: Mapping[str, str]) -> _Server | None:
        """Return the server with this environment; None if others are in use and there may be no more."""
        early = {name: value for name, value in environment.items() if name not in self._late}
        self._drop(lambda server: server.ended)
        for server in self._servers:
            if server.environment == early:
                return server
        if len(self._servers) == MAX_SERVERS:
            self._drop(lambda server: not server.busy)
        if len(self._servers) == MAX_SERVERS:
            return None
        self._servers.append(_Server(self._modules, early))
        return self._servers[-1]

    def _drop(self, unwanted: Callable[[_Server], bool]) -> None:
        dropped = [server for server in self._servers if unwanted(server)]
        self._servers = [server for server in self._servers if server not in dropped]
        for server in dropped:
            server.close()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = Timer(self._idle_seconds, self._end_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_idle(self) -> None:
        with self._lock:
            self._drop(lambda server: not server.busy)
            if self._servers:
                self._start_timer()


class _Server:
    """A server process, and the socket that carries orders to it."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._processes: list[ForkedProcess] = []
        # A socket of packets: each order arrives whole, from whichever thread.
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = subprocess.Popen(
                python(SERVER, str(theirs.fileno()), *modules),
                stdin=subprocess.DEVNULL,
                env={**environment, **IMPORTING},
                cwd="/",
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is this process's to handle
            )

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def busy(self) -> bool:
        """Whether a forked process still runs, or waits to be forked."""
        self._processes = [process for process in self._processes if process.poll() is None]
        return bool(self._processes)

    def fork(
        self, module: str, arguments: Sequence[str], launch: Launch, anew: Callable[[Launch], SpawnedProcess]
    ) -> ForkedProcess:
        """Send an order, which waits in the socket until the server has its imports."""
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(launch.environment),
            "folder": str((launch.folder or Path()).absolute()),
            "own_session": launch.own_session,
            "limits": list(launch.limits.items()),
        }
        ours, theirs = os.pipe()
        process = ForkedProcess(ours, launch, anew)
        try:
            with suppress(OSError):  # the server has ended, as the closed pipe tells the process
                handles = [launch.stdin, launch.stdout, launch.stderr, theirs]
                socket.send_fds(self._socket, [json.dumps(order).encode()], handles)
        finally:
            os.close(theirs)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End the server, which kills what it has forked."""
        self._socket.close()
        try:
            self._popen.wait(1)
        except TimeoutExpired:  # in the midst of its imports
            self._popen.kill()
            self._popen.wait()
