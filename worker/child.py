"""One training process: started in a process group of its own, told to stop, waited for, ended.

It dies with its parent in two ways: Linux kills it when the thread that started it ends, and anywhere it ends itself
once its standard input, whose other end only this process holds, is at its end. The same pipe carries what must not be
seen in a process list: the address of the database with its password.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any

from service.environment import for_libraries

LOG = "train.log"


def child_environment(worker: dict[str, str], device: str | None = None) -> dict[str, str]:
    """The environment of a training process.

    Args:
        worker: the worker's own.
        device: index of the one GPU that the process may use; None leaves the choice to torch.
    """
    kept = for_libraries(worker)
    kept["PYTHONUNBUFFERED"] = "1"  # the log is followed while it is written
    # Threads that spin while they wait cost a busy machine four times the step's time, and save a quiet one 2 %.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    kept.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the fork of a data loader
    if device is not None:
        kept["CUDA_VISIBLE_DEVICES"] = device
    return kept


class Child:
    """A running `worker.trainer`.

    Args:
        folder: the job's folder; the process's output is appended to its log.
        secrets: one JSON object for the process's standard input.
        environment: complete.
        on_exit: called from another thread as soon as the process has ended.
    """

    def __init__(
        self, folder: Path, secrets: dict[str, Any], environment: dict[str, str], on_exit: Callable[[], None]
    ) -> None:
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.trainer", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C is the worker's to handle; a session of its own would leave the worker's niceness.
                process_group=0,
            )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin
        self._say(secrets)
        self._waiter = Thread(target=self._wait, args=(on_exit,), name=f"wait-{self.pid}", daemon=True)
        self._waiter.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As `subprocess` gives it; None while the process runs."""
        return None if self._waiter.is_alive() else self._process.returncode

    def stop(self, *, keep: bool) -> None:
        """Asks it to stop, with a checkpoint where `keep`."""
        self._say({"stop": "keep" if keep else "drop"})
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process and whatever it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leaves nothing of the group behind."""
        self.kill()
        self._waiter.join()
        with suppress(OSError):
            self._pipe.close()

    def _say(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # it has ended: the waiter tells
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()

    def _wait(self, on_exit: Callable[[], None]) -> None:
        self._process.wait()
        on_exit()
