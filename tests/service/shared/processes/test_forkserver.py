"""The server from which processes are forked: its life, and what happens without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.shared.processes import forkserver
from service.shared.processes.forkserver import ForkServer
from tests.service.shared.processes.test_spawned_process import ROOT, Run, environment
from tests.worker.support import is_alive, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer(["numpy"], idle_seconds=60)
    yield server
    server.close()


def pids(server: ForkServer) -> list[int]:
    return [one._popen.pid for one in server._servers]


def test_one_server_forks_all_that_share_an_environment(server: ForkServer, tmp_path: Path) -> None:
    facts = [Run(server, tmp_path, "facts", environment=environment(FAILPOINT=str(n))).facts() for n in range(3)]
    assert {one["parent"] for one in facts} == set(pids(server))
    assert len({one["random"] for one in facts}) == 3
    other = Run(server, tmp_path, "facts", environment=environment(HF_HUB_OFFLINE="1")).facts()
    assert other["parent"] not in {one["parent"] for one in facts}
    assert other["environment"]["HF_HUB_OFFLINE"] == "1"
    assert len(pids(server)) == 2


def test_beyond_two_environments_idle_servers_make_room_and_busy_ones_stay(server: ForkServer, tmp_path: Path) -> None:
    sleepers = []
    for name in "ab":
        (tmp_path / name).mkdir()
        sleepers.append(Run(server, tmp_path / name, "sleep", environment=environment(HF_HOME=name)))
    third = Run(server, tmp_path, "facts", environment=environment(HF_HOME="c")).facts()
    assert third["parent"] == os.getpid()  # started anew
    sleepers[0].close()
    third = Run(server, tmp_path, "facts", environment=environment(HF_HOME="c")).facts()
    assert third["parent"] in pids(server)
    assert sleepers[1].process.poll() is None
    sleepers[1].close()


def test_idle_server_ends_and_the_next_process_gets_another(tmp_path: Path) -> None:
    server = ForkServer(["numpy"], idle_seconds=0.5)
    sleeper = Run(server, tmp_path, "sleep")
    sleeper.until_running()
    (first,) = pids(server)
    time.sleep(1.2)  # it is not idle: a process runs
    assert is_alive(first)
    sleeper.close()
    wait_until(lambda: not is_alive(first))
    assert Run(server, tmp_path, "facts").facts()["parent"] != first
    server.close()


def test_killed_server_takes_its_processes_along_and_is_replaced(server: ForkServer, tmp_path: Path) -> None:
    sleeper = Run(server, tmp_path, "sleep")
    sleeper.until_running()
    pid = sleeper.process.pid
    assert pid is not None
    (killed,) = pids(server)
    os.kill(killed, signal.SIGKILL)
    assert sleeper.process.wait(30) == -signal.SIGKILL
    wait_until(lambda: not is_alive(pid) and not is_alive(killed))
    assert Run(server, tmp_path, "facts").facts()["parent"] in pids(server)


def test_a_server_that_cannot_import_costs_nothing_but_its_use(tmp_path: Path) -> None:
    server = ForkServer(["no_such_module"], idle_seconds=60)
    assert Run(server, tmp_path, "facts").facts()["parent"] == os.getpid()
    server.close()


def test_kill_before_the_fork_does_not_wait_for_imports(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("import time; time.sleep(600)")
    server = ForkServer(["slow_module"], idle_seconds=60)
    run = Run(server, tmp_path, "sleep", environment=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"))
    run.process.kill()
    assert run.process.wait(20) == -signal.SIGKILL
    server.close()


def test_all_end_with_the_process_that_owns_the_server(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from service.shared.processes.forkserver import ForkServer\n"
        "from tests.service.shared.processes.test_spawned_process import Run\n"
        "server = ForkServer(['numpy'], 60); run = Run(server, Path(sys.argv[1]), 'sleep'); run.until_running()\n"
        "print(run.process.pid, server._servers[0]._popen.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as owner:
        assert owner.stdout is not None
        children = [int(pid) for pid in owner.stdout.readline().split()]
        assert all(is_alive(pid) for pid in children)
        owner.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def test_server_is_named_and_has_one_thread(server: ForkServer, tmp_path: Path) -> None:
    sleeper = Run(server, tmp_path, "sleep", "a b")
    sleeper.until_running()
    line = Path(f"/proc/{sleeper.process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    assert "-m tests.service.shared.processes.child sleep a b" in line
    threads = Path(f"/proc/{pids(server)[0]}/task")
    assert len(list(threads.iterdir())) == 1
    sleeper.close()


def test_environment_holds_no_secret_of_ours(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAMSS_API_KEY", "canary")
    facts = Run(server, tmp_path, "facts").facts()
    assert "canary" not in json.dumps(facts)
    assert b"canary" not in Path(f"/proc/{pids(server)[0]}/environ").read_bytes()


def test_what_may_differ_is_read_late() -> None:
    """HF_HUB_OFFLINE, for one, is read by an import: it must not be here."""
    assert forkserver.LATE == ("CUDA_VISIBLE_DEVICES", "FAILPOINT", "OMP_NUM_THREADS")
