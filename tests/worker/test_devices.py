"""Which GPU a job gets. There are none here: what counts is which index is given to whom."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from worker.devices import Gpus

HOLDS_ONE = """
import sys
from pathlib import Path
from worker.devices import Gpus
with Gpus(["0", "1"], Path(sys.argv[1])).one() as index:
    print(index, flush=True)
    sys.stdin.read()
"""


def test_jobs_of_one_worker(tmp_path: Path) -> None:
    gpus = Gpus(["0", "1", "2"], tmp_path)
    with gpus.one() as first:
        with gpus.one() as second, gpus.one() as third:
            assert [first, second, third] == ["0", "1", "2"]
        with gpus.one() as again:
            assert again == "1"


def test_jobs_of_several_workers(tmp_path: Path) -> None:
    """Also where one of them is killed."""
    command = [sys.executable, "-c", HOLDS_ONE, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "0\n"
    gpus = Gpus(["0", "1"], tmp_path)
    with gpus.one() as index:
        assert index == "1"
    other.kill()
    other.communicate()
    with gpus.one() as index:
        assert index == "0"


def test_more_jobs_than_gpus_share_them(tmp_path: Path) -> None:
    gpus = Gpus(["0", "1"], tmp_path)
    with ExitStack() as stack:
        given = [stack.enter_context(gpus.one()) for _ in range(6)]
    assert sorted(index or "" for index in given) == ["0"] * 3 + ["1"] * 3


@pytest.mark.parametrize("indices", [[], ["0"]])
def test_without_a_choice_torch_chooses(tmp_path: Path, indices: list[str]) -> None:
    with Gpus(indices, tmp_path / "none").one() as index:
        assert index is None
    assert not (tmp_path / "none").exists()
