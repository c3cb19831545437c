"""A process that the fork server starts, as the one who asked for it sees it."""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from time import monotonic

from service.shared.processes.spawned_process import Launch, SpawnedProcess, TimeoutExpired, kill_group

# Sent by the server on a pipe of the process's own: first its id, at its end its exit status.
MESSAGE = struct.Struct("<q")
NAME = "forked process"  # in the message of TimeoutExpired
LOOK_SECONDS = 0.2  # between two looks whether a process that is not forked yet was given up
NEVER = 1e7  # seconds


class ForkedProcess:
    """A process forked by the server, which may still be importing; started anew if the server ends before the fork.

    Args:
        status: the pipe on which the server reports; this object closes it.
        launch: to start the process anew with.
        anew: starts it.
    """

    def __init__(self, status: int, launch: Launch, anew: Callable[[Launch], SpawnedProcess]) -> None:
        self._status, self._received = status, b""
        self._launch: Launch | None = _with_own_streams(launch)
        self._anew = anew
        self._reading = Lock()  # held by the thread that reads the pipe
        self._state = Lock()
        self._asked_to_end = self._given_up = False  # before the process existed
        self._pid: int | None = None
        self._returncode: int | None = None
        self._spawned: SpawnedProcess | None = None

    @property
    def pid(self) -> int | None:
        if self._pid is None:
            self.poll()
        return self._pid if self._spawned is None else self._spawned.pid

    @property
    def returncode(self) -> int | None:
        return self._returncode if self._spawned is None else self._spawned.returncode

    def poll(self) -> int | None:
        with suppress(TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        deadline = monotonic() + (NEVER if timeout is None else timeout)
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutExpired(NAME, timeout or 0.0)
        try:
            while self._spawned is None and self._returncode is None:
                left = _left(deadline)
                if select.select([self._status], [], [], left if self._pid else min(LOOK_SECONDS, left))[0]:
                    self._receive()
                elif self._given_up and self._pid is None:
                    self._end_unforked()
                elif left <= LOOK_SECONDS:
                    raise TimeoutExpired(NAME, timeout or 0.0)
        finally:
            self._reading.release()
        return self._spawned.wait(_left(deadline)) if self._spawned is not None else self._returncode or 0

    def terminate(self) -> None:
        """Send SIGTERM, once the process exists."""
        with self._state:
            self._asked_to_end = True
            if self._spawned is not None:
                self._spawned.terminate()
            elif self._pid is not None and self._returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process with its group; if it does not exist yet, have `wait` give it up."""
        with self._state:
            self._given_up = True
            if self._spawned is not None:
                self._spawned.kill()
            elif self._pid is not None:
                kill_group(self._pid)

    def _receive(self) -> None:
        """Take what the server reports; the pipe's end means that the server is gone, and its children with it."""
        part = os.read(self._status, MESSAGE.size)
        self._received += part
        if not part:
            os.close(self._status)
            self._lost()
        elif len(self._received) == MESSAGE.size:
            (value,) = MESSAGE.unpack(self._received)
            self._received = b""
            if self._pid is None:
                self._forked(value)
            else:
                os.close(self._status)
                self._returncode = value

    def _forked(self, pid: int) -> None:
        with self._state:
            self._pid = pid
        self._begun()

    def _lost(self) -> None:
        """Start the process anew if the server did not come to it; else it died with the server."""
        if self._pid is not None:
            kill_group(self._pid)
            self._returncode = -signal.SIGKILL
        elif self._given_up:
            self._returncode = -signal.SIGKILL
            self._forget_streams()
        else:
            assert self._launch is not None
            with self._state:
                self._spawned = self._anew(self._launch)
            self._begun()

    def _begun(self) -> None:
        """Do what was asked for before the process existed."""
        self._forget_streams()
        if self._given_up:
            self.kill()
        elif self._asked_to_end:
            self.terminate()

    def _end_unforked(self) -> None:
        """Close the pipe, at which the server kills the process as soon as it has forked it."""
        os.close(self._status)
        self._forget_streams()
        self._returncode = -signal.SIGKILL

    def _forget_streams(self) -> None:
        launch, self._launch = self._launch, None
        if launch is not None:
            for handle in (launch.stdin, launch.stdout, launch.stderr):
                os.close(handle)


def _with_own_streams(launch: Launch) -> Launch:
    """Return a launch whose file descriptors stay open when the caller closes its own."""
    return replace(launch, stdin=os.dup(launch.stdin), stdout=os.dup(launch.stdout), stderr=os.dup(launch.stderr))


def _left(deadline: float) -> float:
    return max(0.0, deadline - monotonic())
