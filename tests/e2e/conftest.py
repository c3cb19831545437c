"""Fixtures: one service, started as a user would with `adamss up`, and one finished job on it, for all tests here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.demo import DATA
from examples.demo_model import BASE_MODEL, install_model
from service.cli.serve import free_port
from service.client import Client
from tests.security.test_child_processes import songs, write_canaries

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
RUN_SECONDS = 560.0  # of a command; tests whose commands take more than a minute have a timeout beyond it
ROWS = 240


@dataclass(frozen=True)
class Up:
    """A running service, and what reaches it."""

    url: str
    home: Path
    environ: dict[str, str]
    rows: Path  # a small labelled CSV file

    @property
    def key(self) -> str:
        return (self.home / "api_key").read_text().strip()

    @property
    def base(self) -> Path:
        return self.home / "models" / BASE_MODEL

    def client(self) -> Client:
        return Client(self.url, self.key)

    def run(self, *command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """A command that finds this service through its environment."""
        return subprocess.run(
            command, cwd=cwd, env=self.environ, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )

    def adamss(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "service.cli", *arguments, cwd=cwd)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("service") / "home"
    (home / "models").mkdir(parents=True)
    install_model(home / "models")
    port = free_port("127.0.0.1")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environ |= {"ADAMSS_HOME": str(home), "ADAMSS_PORT": str(port), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    environ["ADAMSS_LENGTH_SAMPLE"] = "0"
    # One thread: on a machine with other work, several that wait for each other are many times slower.
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    rows = home.parent / "rows.csv"
    rows.write_text("".join(DATA.read_text().splitlines(keepends=True)[: ROWS + 1]))
    folder = home.parent / "desk"  # where somebody has files of their own that are named like ours
    folder.mkdir()
    for place in (folder, home, home / "models"):
        write_canaries(place)
    command = [sys.executable, "-P", "-m", "service.cli", "up"]  # as the script `adamss` does
    process = subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.PIPE, text=True)
    service = Up(f"http://127.0.0.1:{port}", home, environ, rows)
    try:
        wait_ready(service, process)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert [songs(place) for place in (folder, home, home / "models")] == [[], [], []]
    assert process.returncode == 0
    assert output.rstrip().endswith("Stopped.")
    assert f"{service.url}/signin?code=" in output


def wait_ready(service: Up, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, "adamss up ended"
        if (service.home / "api_key").exists():
            with service.client() as client:
                if client.ready():
                    return
        time.sleep(0.2)
    pytest.fail(f"no service after {START_SECONDS:g} s")


@pytest.fixture(scope="session")
def finished(up: Up, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a job that has succeeded, submitted and watched from the command line."""
    spec = tmp_path_factory.mktemp("spec") / "spec.yaml"
    assert up.adamss("init", str(spec)).returncode == 0
    spec.write_text(spec.read_text().replace("epochs: 2", "epochs: 1"))
    result = up.adamss("jobs", "submit", str(spec), "--dataset", str(up.rows), "--watch")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "evaluation  accuracy" in result.stdout
    with up.client() as client:
        job = client.list_jobs(name="my-first-job")[0]
    assert f"adamss artifacts download {job['id']}" in result.stdout
    return job["id"]
