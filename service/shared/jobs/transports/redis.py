"""Celery's Redis transport, with malformed messages dropped instead of crashing the worker."""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis

from service.shared.jobs.transports.strict_messages import StrictMessages

logger = logging.getLogger(__name__)


class RedisChannel(redis.Channel):  # type: ignore[misc]  # kombu is untyped
    """Channel that skips messages which cannot be parsed."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (Empty, *self.connection_errors):
            raise
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # Redis has removed the message already. kombu's JSON has types of its own, whose decoders raise all these.
            logger.warning("dropped a message that is not JSON: %r", type(error).__name__)
            raise Empty from None


class RedisTransport(StrictMessages, redis.Transport):  # type: ignore[misc]
    """Transport over Redis."""

    Channel = RedisChannel
