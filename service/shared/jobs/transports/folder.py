"""Celery's filesystem transport, with atomic messages.

kombu opens a message under its final name and then writes it; a worker that lists the folder in between takes an empty
file, and a message that cannot be parsed ends the worker. Here a message is written to a temporary file and renamed,
and malformed messages are dropped.
"""

from __future__ import annotations

import logging
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps

from service.shared.jobs.transports.strict_messages import StrictMessages

logger = logging.getLogger(__name__)


class FolderChannel(filesystem.Channel):  # type: ignore[misc]  # kombu is untyped
    """Channel that writes messages atomically and skips unreadable files."""

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
        while True:
            try:
                return super()._get(queue)
            except ValueError as error:  # kombu has moved the file out of the queue already
                logger.warning("dropped a message that is not JSON: %.200r", error)
            except OSError as error:  # a folder that is absent for a while must not end the worker
                logger.warning("the queue folder cannot be read: %r", error)
                raise Empty from error


class FolderTransport(StrictMessages, filesystem.Transport):  # type: ignore[misc]
    """Transport over a folder of files."""

    Channel = FolderChannel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Return after one poll of the folder: between polls, Celery's loop checks whether to stop."""
        super().drain_events(connection, timeout=min(timeout or self.polling_interval, self.polling_interval))
