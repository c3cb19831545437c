"""Processes of the service, restarted when they die and stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from service.shared.processes.parent_death import signal_at_parents_death

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a restart; doubled after each death
HEALTHY_SECONDS = 60.0  # uptime after which the pause starts from the beginning
LOG_BYTES = 10_000_000  # a longer log is rotated at the start


class ServiceProcess:
    """One process of the service.

    Args:
        name: name in messages.
        command: arguments; run in a session of its own, so that Ctrl-C reaches only the parent.
        log: file to append the output to.
        say: called with a message when the process dies.
    """

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, say: Callable[[str], None]
    ) -> None:
        self.name, self._command, self._env, self._log, self._say = name, list(command), dict(env), log, say
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._pause = FIRST_PAUSE
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        self._started_at, self._restart_at = time.monotonic(), None
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=signal_at_parents_death(signal.SIGTERM),  # noqa: PLW1509 - this process has no other threads
            )

    def revive(self) -> None:
        """Restart the process if it is dead and its pause is over; to be called often."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            if now - self._started_at >= HEALTHY_SECONDS:
                self._pause = FIRST_PAUSE
            self._restart_at = now + self._pause
            self._say(f"The {self.name} exited with {code}; restarting in {self._pause:g} s. Log: {self._log}")
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        elif now >= self._restart_at:
            self.start()

    def stop(self, seconds: float, hurried: Callable[[], bool]) -> None:
        """Send SIGTERM, then SIGKILL to the whole session after `seconds` or on a second interrupt."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        until = time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() >= until or hurried():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
