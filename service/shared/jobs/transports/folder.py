"""Celery's filesystem transport, with whole messages only.

kombu opens a message under its final name and then writes it; a worker that looks in between takes an empty file, and
what cannot be parsed ends the worker. Here a message is written aside and renamed, and what cannot be read is dropped.
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

from service.shared.jobs.transports.base import DropsWhatIsNoMessage

logger = logging.getLogger(__name__)


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu is untyped
    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        folder = Path(self.data_folder_out)
        name = f"{time_ns()}_{uuid4()}.{queue}.msg"  # taken in the order of names
        aside = folder / f".{name}.tmp"
        try:
            aside.write_text(dumps(payload))
            aside.rename(folder / name)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _get(self, queue: str) -> Any:
        while True:
            try:
                return super()._get(queue)
            except ValueError as error:  # the file is out of the way by now
                logger.warning("a message that is not JSON was dropped: %.200r", error)
            except OSError as error:  # a folder that is gone for a while must not end the worker
                logger.warning("the queue folder cannot be read: %r", error)
                raise Empty from error


class Transport(DropsWhatIsNoMessage, filesystem.Transport):  # type: ignore[misc]
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Returns after one look into the folder: only then does Celery's loop find out that it should stop."""
        super().drain_events(connection, timeout=min(timeout or self.polling_interval, self.polling_interval))
