"""The demo, shortened: fewer rows, the same path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
COMMAND = [sys.executable, "-m", "examples.demo", "--quick"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    return clean | {
        "ADAMSS_HOME": str(tmp_path / "home"),
        "ADAMSS_PORT": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "ADAMSS_LENGTH_SAMPLE": "0",
    }


def left_running(home: str) -> list[str]:
    """Processes of this home folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command, variables = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes().split(b"\0")
            if home.encode() in command or f"ADAMSS_HOME={home}".encode() in variables:
                found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.mark.timeout(600)  # three minutes beside other tests on two cores
def test_it_trains_prunes_downloads_agrees_and_cleans_up(environ: dict[str, str]) -> None:
    result = subprocess.run(COMMAND, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=560, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Held-out accuracy" in result.stdout
    assert "60 of 120 subspaces are left." in result.stdout
    assert "They agree" in result.stdout
    table = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in table if line[:1] in (["AdaMSS"], ["head"], ["lora:r=1"])] == [
        "AdaMSS",
        "head",
        "lora:r=1",
    ]
    (log,) = Path(environ["ADAMSS_HOME"]).glob("jobs/*/train.log")
    assert "gemm_4bit_forward" not in result.stdout + result.stderr + log.read_text()  # bitsandbytes' notice
    assert left_running(environ["ADAMSS_HOME"]) == []


@pytest.mark.compat
def test_stopped_in_the_middle_it_leaves_nothing_running(environ: dict[str, str]) -> None:
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "runs" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "are stopped" in rest
    assert left_running(environ["ADAMSS_HOME"]) == []


def test_a_service_that_cannot_start_is_said(environ: dict[str, str]) -> None:
    broken = environ | {"ADAMSS_DATABASE_URL": "sqlite:////no/such/folder/adamss.db"}
    begun = time.monotonic()
    result = subprocess.run(COMMAND, cwd=ROOT, env=broken, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert "the service did not start" in result.stdout
    assert time.monotonic() - begun < 60
    assert left_running(environ["ADAMSS_HOME"]) == []
