"""`adamss up` when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.demo import DATA
from examples.demo_model import install_model
from service.cli.serve import free_port
from service.client import ApiError, Client
from tests.e2e.conftest import ROOT, Up, wait_ready

SPEC = {
    "name": "long",
    "base_model": "minilm",
    "adamss": {"target_modules": ["query"]},
    "training": {"epochs": 200, "batch_size": 4, "max_length": 16},
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Up, subprocess.Popen[str]]]:
    """A service of this test's own."""
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    install_model(home / "models")
    port = free_port("127.0.0.1")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environ |= {"ADAMSS_HOME": str(home), "ADAMSS_PORT": str(port), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environ["ADAMSS_LENGTH_SAMPLE"] = "0"
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(DATA.read_text().splitlines(keepends=True)[:100]))
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "up"], env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    service = Up(f"http://127.0.0.1:{port}", home, environ, rows)
    try:
        wait_ready(service, process)
        yield service, process
    finally:
        process.terminate()
        process.communicate(timeout=120)


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """Pids of API and worker, by name."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    return {"worker" if b"worker" in command else "api": int(pid) for pid, command in names.items()}


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_part_that_dies_is_started_again(own: tuple[Up, subprocess.Popen[str]]) -> None:
    service, process = own
    before = children(process)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    with service.client() as client:
        wait_for(lambda: len(now := children(process)) == 2 and not set(now.values()) & set(before.values()))
        wait_for(client.ready)


def test_ctrl_c_leaves_a_running_job_checkpointed_and_queued(own: tuple[Up, subprocess.Popen[str]]) -> None:
    service, process = own
    with service.client() as client:
        dataset = client.upload_dataset(service.rows)
        job = client.submit({**SPEC, "dataset": {"train": dataset["id"]}})["id"]
        wait_for(lambda: client.get_job(job)["progress"]["step"] >= 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Stopped." in output
    shown = stored(service, job)
    assert shown["status"] == "queued"
    assert shown["failures"] == 0
    assert shown["checkpoints"] >= 1


def stored(service: Up, job: str) -> dict[str, Any]:
    """The job as the database has it, with no service running."""
    import sqlite3

    with sqlite3.connect(service.home / "adamss.db") as connection:
        status, failures = connection.execute("SELECT status, failures FROM jobs WHERE id = ?", (job,)).fetchone()
        (count,) = connection.execute("SELECT count(*) FROM checkpoints WHERE job_id = ?", (job,)).fetchone()
    connection.close()
    return {"status": status, "failures": failures, "checkpoints": count}


def test_killed_it_takes_its_parts_along(own: tuple[Up, subprocess.Popen[str]]) -> None:
    service, process = own
    parts = children(process)
    process.kill()
    wait_for(lambda: not any(alive(pid) for pid in parts.values()))
    with Client(service.url, service.key) as client, pytest.raises(ApiError):
        client.get_job("job_a")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
