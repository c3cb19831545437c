"""Processes that the API starts: what they may take, and their end."""

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


def test_end_takes_what_it_started() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert int(process.stdout.readline())
    subprocesses.end(process)  # communicate() inside would wait for the pipe that the grandchild holds
    assert process.returncode != 0
    subprocesses.end(process)  # once more costs nothing


def test_there_are_few_places_and_who_finds_none_is_told_when_to_come_back() -> None:
    """Before: forty at once held all the threads there are, and nobody else was answered."""
    with ExitStack() as stack:
        for _ in range(subprocesses.PLACES):
            stack.enter_context(subprocesses.READERS.one())
        with pytest.raises(TooManyRequests) as caught, subprocesses.READERS.one():
            pass
        assert caught.value.retry_after == subprocesses.RETRY_SECONDS
    with subprocesses.READERS.one():
        pass
