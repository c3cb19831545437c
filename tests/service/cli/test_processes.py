from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli import processes
from service.cli.processes import ServiceProcess


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def part(tmp_path: Path, code: str, messages: list[str]) -> ServiceProcess:
    return ServiceProcess(
        "part", [sys.executable, "-c", code], os.environ, tmp_path / "logs" / "part.log", messages.append
    )


def test_dead_process_restarts_with_doubling_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.05)
    messages: list[str] = []
    one = part(tmp_path, "import sys; print('hello'); sys.exit(3)", messages)
    one.start()

    def died_three_times() -> bool:
        one.revive()
        return len(messages) == 3

    wait_for(died_three_times)
    assert [sentence.split(";")[0] for sentence in messages] == ["The part exited with 3"] * 3
    assert [float(sentence.split(" s.")[0].split()[-1]) for sentence in messages] == [0.05, 0.1, 0.2]
    assert (tmp_path / "logs" / "part.log").read_text() == "hello\n" * 3


def test_stop_sends_sigterm_first(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("checkpoint", flush=True), sys.exit(0)))
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
"""
    one = part(tmp_path, code, [])
    one.start()
    wait_for(ready.exists)
    one.stop(10, lambda: False)
    assert one.pid is None
    assert (tmp_path / "logs" / "part.log").read_text() == "checkpoint\n"


@pytest.mark.parametrize("hurried", [True, False])
def test_process_that_ignores_sigterm_is_killed(tmp_path: Path, hurried: bool) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
"""
    one = part(tmp_path, code, [])
    one.start()
    wait_for(ready.exists)
    one.stop(60 if hurried else 0.2, lambda: hurried)
    assert one.pid is None


def test_long_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    log = tmp_path / "logs" / "part.log"
    log.parent.mkdir()
    log.write_text("x" * 11)
    part(tmp_path, "", [])
    assert not log.exists()
    assert (tmp_path / "logs" / "part.log.1").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals a child when its parent dies")
def test_process_stops_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
import os, pathlib, sys, time
from service.cli.processes import ServiceProcess
command = [sys.executable, "-c", "import time; time.sleep(60)"]
one = ServiceProcess("one", command, os.environ, pathlib.Path("log"), print)
one.start()
pathlib.Path({str(pid_file)!r}).write_text(str(one.pid))
time.sleep(60)
"""
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: pid_file.exists() and bool(pid_file.read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    wait_for(lambda: not stat.exists() or stat.read_text().split()[2] == "Z")
