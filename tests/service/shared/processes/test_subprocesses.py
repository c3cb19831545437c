"""Child processes of the API: resource limits, concurrency limit and termination."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import ExitStack

import pytest

from service.shared.errors import TooManyRequests
from service.shared.processes import subprocesses


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_memory_is_limited() -> None:
    code = "input(); part = bytearray(1200 * 2**20)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    subprocesses.limit(process.pid, {resource.RLIMIT_DATA: 2**30})
    _, log = process.communicate(b"\n", timeout=60)
    assert b"MemoryError" in log


def test_end_kills_grandchildren() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert int(process.stdout.readline())
    subprocesses.end(process)  # communicate() inside would wait for the pipe that the grandchild holds
    assert process.returncode != 0
    subprocesses.end(process)  # idempotent


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
