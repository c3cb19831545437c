"""What both of Celery's transports here do with a message that is none: drop it, and go on."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


class DropsWhatIsNoMessage:
    """Put before a kombu transport, which would end the worker, or wait for ever for an answer to the message."""

    channels: list[Any]

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(message, queue)  # type: ignore[misc]  # the transport's
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            logger.warning("a message that is no Celery message was dropped: %.200r", error)
            self._forget(message)

    def _forget(self, message: Any) -> None:
        """It counts among those being worked on; with a prefetch of one, no other would ever be fetched."""
        properties = message.get("properties") if isinstance(message, dict) else None
        tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
        for channel in self.channels:
            if tag is not None and tag in channel.qos._delivered:
                channel.basic_reject(tag, requeue=False)
