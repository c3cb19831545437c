"""Requests per minute of a key, or of an address that signs in: counted in memory, or for all API processes in Redis,
where the broker is one."""

from __future__ import annotations

import logging
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from service.shared.settings import Settings

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.5  # longest wait for Redis in a request
PAUSE_SECONDS = 10.0  # how long Redis is left alone after it failed to answer


class RateLimits:
    """Counts requests in a sliding minute. A Redis that does not answer costs nobody their request: each process
    then counts for itself."""

    def __init__(self, settings: Settings) -> None:
        self._per_minute = settings.requests_per_minute
        self._item = RateLimitItemPerMinute(max(1, self._per_minute), namespace="adamss")
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        if settings.broker_url.startswith("redis"):
            self._shared = SlidingWindowCounterRateLimiter(_redis(settings.broker_url))
        self._shared_from = 0.0

    def wait_seconds(self, sender: str) -> int:
        """Counts a request; 0 where it may go on, else the seconds after which one may be sent again."""
        if self._per_minute == 0:
            return 0
        if self._shared is not None and time.monotonic() >= self._shared_from:
            try:
                return self._count(self._shared, sender)
            except Exception as error:  # whatever Redis' client raises
                logger.warning("rate limits: Redis does not answer: %s", type(error).__name__)
                self._shared_from = time.monotonic() + PAUSE_SECONDS
        return self._count(self._own, sender)

    def _count(self, limiter: SlidingWindowCounterRateLimiter, sender: str) -> int:
        if limiter.hit(self._item, sender):
            return 0
        reset = limiter.get_window_stats(self._item, sender).reset_time
        return max(1, math.ceil(reset - time.time()))


def _redis(url: str) -> Storage:
    storage = storage_from_string(
        url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, key_prefix="adamss-rate"
    )
    assert isinstance(storage, Storage)
    return storage
