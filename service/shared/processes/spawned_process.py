"""A child process under one interface, whether it was started anew or forked from a process that had its imports."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

# Raised by `Process.wait`, under the name that subprocess gives it.
TimeoutExpired = subprocess.TimeoutExpired


@dataclass(frozen=True)
class Launch:
    """How a process is to start.

    Attributes:
        environment: the complete environment.
        stdin, stdout, stderr: file descriptors of the caller, who may close them afterwards.
        folder: to run in; None for the caller's.
        own_session: lead a session of its own; else only a process group, which keeps the session's share of the CPU.
        limits: resource limits by their number in `resource`; on Linux only, elsewhere a time limit alone applies.
    """

    environment: Mapping[str, str]
    stdin: int
    stdout: int
    stderr: int
    folder: Path | None = None
    own_session: bool = True
    limits: Mapping[int, int] = field(default_factory=dict)


class Process(Protocol):
    """A child that leads a process group."""

    @property
    def pid(self) -> int | None:
        """Return the process id; None while the process that it is forked from still imports."""

    @property
    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None until `wait` or `poll` has seen the end."""

    def poll(self) -> int | None:
        """Return the exit status if the process has ended, else None."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status.

        Raises:
            TimeoutExpired: the process still runs after `timeout` seconds.
        """
        ...

    def terminate(self) -> None:
        """Ask the process to end, by SIGTERM."""

    def kill(self) -> None:
        """Kill the process with its whole group."""


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a child process.

    -P keeps the current folder out of the child's path: a user's own `service.py` or `random.py` there must not be
    taken for ours or the standard library's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


class SpawnedProcess:
    """A process that was started anew."""

    def __init__(self, command: Sequence[str], launch: Launch) -> None:
        self._popen = subprocess.Popen(
            command,
            stdin=launch.stdin,
            stdout=launch.stdout,
            stderr=launch.stderr,
            cwd=launch.folder,
            env=launch.environment,
            start_new_session=launch.own_session,
            process_group=None if launch.own_session else 0,
        )
        _limit(self._popen.pid, launch.limits)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.returncode

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._popen.wait(timeout)

    def terminate(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        kill_group(self.pid)


def kill_group(pid: int) -> None:
    """Kill a process group, or the process that is about to lead it: a forked one has no group of its own at first."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
            return


def end(process: Process) -> None:
    """Kill a process unless it has ended, and wait for its end."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _limit(pid: int, limits: Mapping[int, int]) -> None:
    if sys.platform != "linux":
        return
    with suppress(ProcessLookupError):
        for kind, value in limits.items():
            resource.prlimit(pid, kind, (value, value))
