from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

from service.shared.storage.home import JobFolder
from tests.worker.support import is_alive, wait_until
from worker.folder_lock import FolderLock

HOLDS_THE_FOLDER = "import sys, time; from worker.folder_lock import FolderLock; from pathlib import Path\n"
HOLDS_THE_FOLDER += "from service.shared.storage.home import JobFolder\n"
HOLDS_THE_FOLDER += "with FolderLock(JobFolder(Path(sys.argv[-1]))): print('locked', flush=True); time.sleep(60)"


def test_folder_is_one_process_at_a_time(tmp_path: Path) -> None:
    entered = Event()
    with subprocess.Popen([sys.executable, "-c", HOLDS_THE_FOLDER, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        other.send_signal(signal.SIGTERM)
        with FolderLock(JobFolder(tmp_path), timeout=20):
            entered.set()
    assert entered.is_set()


def test_frozen_process_of_an_earlier_attempt_is_ended(tmp_path: Path) -> None:
    """Whatever its command line says: that of a forked process may be cut, and 0.1 had another name for it."""
    words = [sys.executable, "-c", HOLDS_THE_FOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        other.send_signal(signal.SIGSTOP)
        with FolderLock(JobFolder(tmp_path), timeout=20):
            wait_until(lambda: not is_alive(other.pid))
