"""Celery's filesystem transport, with atomic messages, and safe against whatever lies in its folder.

kombu opens a message under its final name and then writes it; a worker that lists the folder in between takes an empty
file. It also opens what is no file: a named pipe blocks the worker for good. Here a message is written to a temporary
file and renamed, and only regular files of a bounded size are read.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps

from service.shared.jobs.transports.strict_messages import StrictMessages

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 64 * 2**10  # a hint of ours has 1 kB


class FolderChannel(filesystem.Channel):  # type: ignore[misc]  # kombu is untyped
    """Channel that writes messages atomically and skips what is not a message."""

    supports_fanout = False  # or kombu keeps each binding in a file, and opens whatever has that file's name

    def get_table(self, exchange: str) -> Any:
        """Return the bindings, from memory: each process declares its own before it sends or receives."""
        return virtual.Channel.get_table(self, exchange)

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time_ns()}_{uuid4()}.{queue}.msg"  # names sort by time: messages are received in this order
        partial = folder / f".{name}.tmp"
        try:
            partial.write_text(dumps(payload))
            partial.rename(folder / name)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _get(self, queue: str) -> Any:
        folder, taken = Path(self.data_folder_in), Path(self.processed_folder)
        try:
            names = sorted(path.name for path in folder.iterdir() if path.name.partition(".")[2] == f"{queue}.msg")
        except OSError as error:  # a folder that is absent for a while must not end the worker
            logger.warning("the queue folder cannot be read: %r", error)
            raise Empty from error
        for name in names:
            try:
                (folder / name).rename(taken / name)
            except OSError:  # another worker was faster, or it is a folder of somebody else
                continue
            try:
                return json.loads(_content(taken / name))
            except (OSError, RecursionError, ValueError) as error:
                logger.warning("dropped a message that is not JSON: %.200r", error)
        raise Empty


def _content(path: Path) -> bytes:
    """Read a regular file; a link is not followed and a named pipe not waited for.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not a regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = os.read(descriptor, MESSAGE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MESSAGE_BYTES:
        raise ValueError("too large")
    return content


class FolderTransport(StrictMessages, filesystem.Transport):  # type: ignore[misc]
    """Transport over a folder of files."""

    Channel = FolderChannel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Return after one poll of the folder: between polls, Celery's loop checks whether to stop."""
        super().drain_events(connection, timeout=min(timeout or self.polling_interval, self.polling_interval))
