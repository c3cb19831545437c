"""Celery's Redis transport, which drops what is not a message; kombu's would end the worker."""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis

from service.shared.jobs.transports.base import DropsWhatIsNoMessage

logger = logging.getLogger(__name__)


class Channel(redis.Channel):  # type: ignore[misc]  # kombu is untyped
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except ValueError as error:  # Redis has given it away: it will not come again
            logger.warning("a message that is not JSON was dropped: %.200r", error)
            raise Empty from None


class Transport(DropsWhatIsNoMessage, redis.Transport):  # type: ignore[misc]
    Channel = Channel
