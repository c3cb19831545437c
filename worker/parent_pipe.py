"""Tie a training process to its parent: read its messages from the standard input, and end with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn


class ParentPipe:
    """Read lines of the standard input without Python's buffer, whose lock a daemon thread would hold at exit."""

    def __init__(self) -> None:
        self._handle = os.dup(0)  # not inherited: processes that the run starts get an empty input
        with Path(os.devnull).open("rb") as empty:
            os.dup2(empty.fileno(), 0)
        self._rest = b""

    def first_line(self) -> bytes:
        """Return the first message; end the process group if the parent died before it."""
        line = self._next()
        if line is None:
            end_group()
        return line

    def lines(self) -> Iterator[bytes]:
        """Yield further messages until the parent is gone."""
        while (line := self._next()) is not None:
            yield line

    def _next(self) -> bytes | None:
        while b"\n" not in self._rest:
            part = os.read(self._handle, 65_536)
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def end_group() -> NoReturn:
    """Kill this process and every process that it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
