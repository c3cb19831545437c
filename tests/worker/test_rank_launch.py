from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from worker.rank_launch import launch_command

LEAVES = """
import atexit
from worker.rank_launch import leave
atexit.register(print, "taken apart")
print("last words")
leave(3)
"""


def test_ranks_meet_on_their_host_whatever_its_name() -> None:
    command = launch_command("worker.training_process", Path("/jobs/job_a"), 4, lean=True)
    options = dict(pairwise(command))
    assert options["--nproc-per-node"] == "4"
    assert options["--max-restarts"] == "0"
    assert options["--local-addr"] == "127.0.0.1"
    assert command[-3:] == ["adamss_core.lean", "worker.training_process", "/jobs/job_a"]


def test_a_rank_leaves_without_taking_its_libraries_apart() -> None:
    left = subprocess.run([sys.executable, "-P", "-c", LEAVES], capture_output=True, text=True, check=False)
    assert (left.returncode, left.stdout) == (3, "last words\n"), left.stderr
