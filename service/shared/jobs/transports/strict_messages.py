"""Handling of malformed messages, shared by both Celery transports."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


class StrictMessages:
    """Mixin before a kombu transport, to drop malformed messages instead of crashing the worker.

    kombu alone ends the worker, or waits for ever for the message's acknowledgement.
    """

    channels: list[Any]

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(message, queue)  # type: ignore[misc]  # the transport's
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            logger.warning("dropped a message that is not in Celery's format: %.200r", error)
            self._forget(message)

    def _forget(self, message: Any) -> None:
        """Reject a dropped message: as long as it counts as in progress, a prefetch of one fetches no other message."""
        properties = message.get("properties") if isinstance(message, dict) else None
        tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
        for channel in self.channels:
            if tag is not None and tag in channel.qos._delivered:
                channel.basic_reject(tag, requeue=False)
