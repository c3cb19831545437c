"""Concurrency limit of the processes that requests wait for."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.shared.errors import TooManyRequests
from service.shared.processes import subprocesses


def test_busy_limit_returns_429_with_retry_after() -> None:
    """Before: forty at once held every server thread, and no other request was served."""
    with ExitStack() as stack:
        for _ in range(subprocesses.MAX_READERS):
            stack.enter_context(subprocesses.READERS.slot())
        with pytest.raises(TooManyRequests) as caught, subprocesses.READERS.slot():
            pass
        assert caught.value.retry_after == subprocesses.RETRY_SECONDS
    with subprocesses.READERS.slot():
        pass
