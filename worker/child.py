"""Start one training process in a process group of its own, ask it to stop, wait for it, and end it.

It dies with its parent in two ways: Linux kills it when the thread or the fork server that started it ends, and on
every system it ends itself when its standard input closes, whose other end only this process holds. The same pipe
carries the address of the database with its password, which must not appear in a process list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from service.shared.processes.environment import for_libraries
from service.shared.processes.spawned_process import Launch, Process
from service.shared.storage.home import JobFolder
from worker.rank_launch import rank_environment

TRAINING = "worker.training_process"
# Looks of an OpenMP thread that waits before it sleeps. By default there are 300,000, which cost a busy machine twice
# the step's time; with none a quiet one takes a sixth longer.
SPINS = "3000"


def child_environment(worker: dict[str, str], device: str | None = None, ranks: int = 1) -> dict[str, str]:
    """Return the environment of a training process.

    Args:
        worker: environment of the worker.
        device: the GPUs that the process may use, as CUDA_VISIBLE_DEVICES names them; None leaves the choice to torch.
        ranks: processes that the one process starts.
    """
    environment = for_libraries(worker)
    environment["PYTHONUNBUFFERED"] = "1"  # the log is followed while it is written
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the fork of a data loader
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    if ranks > 1:
        environment = rank_environment(ranks) | environment
    return environment


class TrainingChild:
    """Run `worker.training_process` as a child process.

    Args:
        start: starts the process.
        folder: the job's folder; the output of the process is appended to its log.
        start_message: fields of `worker.training_process.StartMessage`, sent through its standard input.
        environment: the complete environment.
        on_exit: called from another thread as soon as the process has ended.
        launcher: whether the process starts the ranks of a group, which take their orders from the pipe alone.
    """

    def __init__(
        self,
        start: Callable[[Launch], Process],
        folder: JobFolder,
        start_message: dict[str, Any],
        environment: dict[str, str],
        on_exit: Callable[[], None],
        *,
        launcher: bool = False,
    ) -> None:
        self._launcher = launcher
        stdin, pipe = os.pipe()
        self._pipe = os.fdopen(pipe, "wb")
        with folder.log.open("ab") as log:
            # Not a session of its own, which would leave the worker's niceness.
            launch = Launch(environment, stdin, log.fileno(), log.fileno(), own_session=False)
            self._process = start(launch)
        os.close(stdin)
        self._send(start_message)
        self._waiter = Thread(target=self._wait, args=(on_exit,), name=f"wait-{folder.path.name}", daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        return None if self._waiter.is_alive() else self._process.returncode

    def stop(self, *, keep: bool) -> None:
        """Ask the process to stop: SIGTERM asks for a checkpoint, a message before it says that none is wanted. Ranks
        get messages only.

        Args:
            keep: whether the work since the last checkpoint is worth another one.
        """
        if not keep:
            self._send({"stop": "drop"})
        elif self._launcher:
            self._send({"stop": "keep"})
        if not self._launcher:
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and every process that it started."""
        self._process.kill()

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
