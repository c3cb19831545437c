"""Processes, started anew and forked: what holds for one holds for the other."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.shared.processes.forkserver import ForkServer
from service.shared.processes.spawned_process import Launch, Process, TimeoutExpired
from tests.worker.support import is_alive, wait_until

CHILD = "tests.service.shared.processes.child"
ROOT = Path(__file__).parents[4]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}


class Run:
    """One process with its output."""

    def __init__(self, server: ForkServer, folder: Path, *arguments: str, **fields: Any) -> None:
        self.output = folder / "output"
        self._stdin, self._pipe = os.pipe()
        with self.output.open("wb") as output:
            fields = {"environment": environment(), "folder": folder, **fields}
            launch = Launch(stdin=self._stdin, stdout=output.fileno(), stderr=output.fileno(), **fields)
            self.process: Process = server.start(CHILD, arguments, launch)
        os.close(self._stdin)

    def send(self, line: str) -> None:
        os.write(self._pipe, line.encode())

    def text(self) -> str:
        self.process.wait(30)
        return self.output.read_text()

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text())
        return found

    def until_running(self) -> None:
        """Wait for its first line; somebody must read what the server reports meanwhile."""
        wait_until(lambda: self.process.poll() is not None or self.output.read_bytes() != b"")

    def close(self) -> None:
        os.close(self._pipe)
        self.process.kill()
        with suppress(TimeoutExpired):
            self.process.wait(30)


Start = Callable[..., Run]


@pytest.fixture(scope="module", params=[60.0, 0.0], ids=["forked", "anew"])
def server(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    """A server that imports next to nothing: `numpy` stands for torch."""
    server = ForkServer(["numpy"], request.param)
    yield server
    server.close()


@pytest.fixture
def start(server: ForkServer, tmp_path: Path) -> Iterator[Start]:
    runs: list[Run] = []

    def begin(*arguments: str, on: ForkServer = server, **fields: Any) -> Run:
        runs.append(Run(on, tmp_path, *arguments, **fields))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def test_process_is_as_ordered(start: Start, server: ForkServer, tmp_path: Path) -> None:
    limits = {resource.RLIMIT_CORE: 0}
    run = start("facts", "an argument", environment=environment(FAILPOINT="x"), limits=limits)
    facts = run.facts()
    assert run.process.returncode == 7
    assert facts["pid"] == run.process.pid == facts["group"] == facts["session"]
    assert (facts["folder"], facts["arguments"]) == (str(tmp_path), ["facts", "an argument"])
    libraries = {"LC_CTYPE", "KMP_DUPLICATE_LIB_OK"}  # set by Python and threadpoolctl
    given = {name: value for name, value in facts["environment"].items() if name not in libraries}
    assert given == environment(FAILPOINT="x")
    assert facts["core"] == [0, 0]
    assert not {"", str(tmp_path)} & set(facts["path"])
    assert facts["term"]
    assert (facts["parent"] == os.getpid()) == ("numpy" not in facts["modules"])  # forked ones have their imports


def test_group_without_a_session(start: Start) -> None:
    facts = start("facts", own_session=False).facts()
    assert facts["group"] == facts["pid"]
    assert facts["session"] == os.getsid(0)


def test_streams(start: Start) -> None:
    run = start("echo")
    run.send("a line\n")
    assert sorted(run.text().splitlines()) == ["a line", "to stderr"]


@pytest.mark.parametrize(
    ("wish", "status", "log"), [("raise", 1, "ValueError: as asked"), ("segv", -signal.SIGSEGV, "")]
)
def test_bad_end_is_reported(start: Start, wish: str, status: int, log: str) -> None:
    run = start(wish)
    assert log in run.text()
    assert run.process.wait() == run.process.returncode == run.process.poll() == status


def test_memory_is_limited(start: Start) -> None:
    assert "MemoryError" in start("memory", limits={resource.RLIMIT_DATA: 2**30}).text()


def test_wait_ends_after_its_timeout(start: Start) -> None:
    run = start("sleep")
    with pytest.raises(TimeoutExpired):
        run.process.wait(0.3)
    assert run.process.poll() is None


def test_terminate_reaches_a_process_that_does_not_exist_yet(start: Start) -> None:
    run = start("sleep")
    run.process.terminate()
    assert run.process.wait(30) == -signal.SIGTERM


def test_kill_reaches_grandchildren(start: Start) -> None:
    run = start("grandchild")
    run.until_running()
    grandchild = int(run.output.read_text())
    run.process.kill()
    assert run.process.wait(30) == -signal.SIGKILL
    wait_until(lambda: not is_alive(grandchild))


def test_many_at_once(start: Start) -> None:
    """Each gets its own end; no two share their random numbers."""
    runs = [start("sleep"), *(start("echo") for _ in range(4)), start("segv")]
    for run in runs[1:5]:
        run.send("x\n")
    assert [run.process.wait(30) for run in runs[1:]] == [7, 7, 7, 7, -signal.SIGSEGV]
    assert runs[0].process.poll() is None
