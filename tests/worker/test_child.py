from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

from tests.worker.support import is_alive, wait_until
from worker.child import child_environment
from worker.trainer import FolderLock

HOLDS_THE_FOLDER = "import sys, time; from worker.trainer import FolderLock; from pathlib import Path\n"
HOLDS_THE_FOLDER += "with FolderLock(Path(sys.argv[-1])): print('locked', flush=True); time.sleep(60)"


def test_environment_is_what_libraries_need() -> None:
    own = {
        "PATH": "/bin",
        "HF_HUB_OFFLINE": "1",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "ADAMSS_API_KEY": "secret",
        "ADAMSS_DATABASE_URL": "postgresql://user:secret@host/db",
        "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PATHOLOGY": "x",
    }
    kept = child_environment(own, device="1")
    assert "secret" not in str(kept)
    assert {"PATH", "HF_HUB_OFFLINE", "LC_ALL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"} <= set(kept)
    assert "PATHOLOGY" not in kept
    assert "CUDA_VISIBLE_DEVICES" not in child_environment(own)
    assert child_environment(own)["OMP_WAIT_POLICY"] == "PASSIVE"
    assert child_environment(own | {"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"


def test_folder_is_one_process_at_a_time(tmp_path: Path) -> None:
    entered = Event()
    with subprocess.Popen([sys.executable, "-c", HOLDS_THE_FOLDER, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        other.send_signal(signal.SIGTERM)
        with FolderLock(tmp_path, timeout=20):
            entered.set()
    assert entered.is_set()


def test_frozen_process_of_an_earlier_attempt_is_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS_THE_FOLDER, "worker.trainer", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        other.send_signal(signal.SIGSTOP)
        with FolderLock(tmp_path, timeout=20):
            wait_until(lambda: not is_alive(other.pid))
