"""Start one training process in a process group of its own, ask it to stop, wait for it, and end it.

It dies with its parent in two ways: Linux kills it when the thread that started it ends, and on every system it ends
itself when its standard input closes, whose other end only this process holds. The same pipe carries the address of
the database with its password, which must not appear in a process list.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import IO, Any

from service.shared.processes.ask import python
from service.shared.processes.environment import for_libraries
from service.shared.storage.home import JobFolder


def child_environment(worker: dict[str, str], device: str | None = None) -> dict[str, str]:
    """Return the environment of a training process.

    Args:
        worker: environment of the worker.
        device: index of the one GPU that the process may use; None leaves the choice to torch.
    """
    environment = for_libraries(worker)
    environment["PYTHONUNBUFFERED"] = "1"  # the log is followed while it is written
    # Threads that spin while they wait cost a busy machine four times the step's time, and save a quiet one 2 %.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the fork of a data loader
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


class TrainingChild:
    """Run `worker.training_process` as a child process.

    Args:
        folder: the job's folder; the output of the process is appended to its log.
        start_message: fields of `worker.training_process.StartMessage`, sent through its standard input.
        environment: the complete environment.
        on_exit: called from another thread as soon as the process has ended.
    """

    def __init__(
        self, folder: JobFolder, start_message: dict[str, Any], environment: dict[str, str], on_exit: Callable[[], None]
    ) -> None:
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                python("worker.training_process", str(folder.path)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C is the worker's to handle; a session of its own would leave the worker's niceness.
                process_group=0,
            )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin
        self._send(start_message)
        self._waiter = Thread(target=self._wait, args=(on_exit,), name=f"wait-{self.pid}", daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        return None if self._waiter.is_alive() else self._process.returncode

    def stop(self, *, keep: bool) -> None:
        """Ask the process to stop: SIGTERM asks for a checkpoint, a message before it says that none is wanted.

        Args:
            keep: whether the work since the last checkpoint is worth another one.
        """
        if not keep:
            self._send({"stop": "drop"})
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and every process that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the group, wait for the process, and close the pipe."""
        self.kill()
        self._waiter.join()
        with suppress(OSError):
            self._pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the process has ended: the waiter calls on_exit
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()

    def _wait(self, on_exit: Callable[[], None]) -> None:
        self._process.wait()
        on_exit()
