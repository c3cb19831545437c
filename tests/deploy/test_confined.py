"""Nothing is written outside what docker-compose.yml mounts: shown without Docker, in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.faults.compose import ROOT

SCRIPT = Path(__file__).with_name("confined.sh")
UNAVAILABLE = 75
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv") or ROOT.is_relative_to("/tmp"),
    reason="needs root for a mount namespace, and a checkout that the namespace's own /tmp does not hide",
)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that anybody may pass, on a file system that is read-only in the namespace."""
    folder = Path(mkdtemp(prefix="adamss-confined-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def confined(scratch: Path, command: str) -> str:
    done = subprocess.run(
        [SCRIPT, scratch, "bash", "-c", command],
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == UNAVAILABLE:
        pytest.skip("this system makes no mount namespaces")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_place_is_as_confined_as_the_container(scratch: Path) -> None:
    places = f"/ /etc /var/tmp {scratch} {ROOT} {ROOT}/service {Path(sys.prefix)}"
    tried = f"for folder in {places} /tmp $HOME $ADAMSS_HOME; do test -w $folder && echo $folder; done; id -u"
    lines = confined(scratch, f"{tried}; grep -E 'CapBnd|NoNewPrivs' /proc/self/status").split("\n")
    assert lines[:4] == ["/tmp", f"{scratch}/user", f"{scratch}/volume", "10001"]
    assert lines[4].split() == ["CapBnd:", "0" * 16]
    assert lines[5].split() == ["NoNewPrivs:", "1"]


@pytest.mark.compat
def test_a_job_runs_to_its_end_in_it(scratch: Path) -> None:
    """API and worker, upload, training on a pretrained model, artifacts, and predictions from each."""
    shown = confined(scratch, "python -m examples.demo --quick && ls -A $ADAMSS_HOME $HOME")
    assert "They agree" in shown
    assert "adamss.db" in shown
