"""Rate limits per key, and per address for sign-ins: counted in memory; for all API processes in Redis if the broker is
Redis, else in a file of the home folder if there are several."""

from __future__ import annotations

import logging
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from service.http.gate.shared_counts import FileStorage
from service.shared.settings import Settings

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.5  # longest wait for Redis during a request
PAUSE_SECONDS = 10.0  # time without shared counters after a failure of them


class RateLimits:
    """Counters of requests in a sliding minute. While shared counters fail, each process counts on its own, so that no
    request fails."""

    def __init__(self, settings: Settings) -> None:
        self._per_minute = settings.requests_per_minute
        self._item = RateLimitItemPerMinute(max(1, self._per_minute), namespace="adamss")
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        if settings.broker_url.startswith("redis"):
            self._shared = SlidingWindowCounterRateLimiter(_redis(settings.broker_url))
        elif settings.api_processes > 1 and self._per_minute > 0:
            self._shared = SlidingWindowCounterRateLimiter(FileStorage(settings.files.request_counts))
        self._shared_from = 0.0

    def wait_seconds(self, sender: str) -> int:
        """Count a request of `sender`; return 0 within the limit, else the seconds until the next may be sent."""
        if self._per_minute == 0:
            return 0
        if self._shared is not None and time.monotonic() >= self._shared_from:
            try:
                return self._count(self._shared, sender)
            except Exception as error:  # Redis' client may raise anything
                logger.warning("rate limits: the shared counters do not answer: %s", type(error).__name__)
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
