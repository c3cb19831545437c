"""Processes import what is installed, never what lies in the folder that somebody happens to stand in."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from service.base_models import fetching, inspection, receiving
from service.datasets import hub, leakage, preview, upload
from service.jobs import target_check, token_lengths
from service.predict import process
from service.shared.processes.environment import for_libraries, for_sandbox
from service.shared.processes.forkserver import LEAN, SERVER
from service.shared.processes.spawned_process import python
from tests.marks import compat
from worker.child import TRAINING
from worker.hub_fetch import FETCH

ROOT = Path(__file__).resolve().parents[2]
CODE = ("adamss_core", "service", "worker", "migrations", "examples", "benchmarks")
AT_START = {
    "abc",
    "codecs",
    "encodings",
    "io",
    "site",
}  # Python itself imports them, before there is `open` to sing with
LIBRARIES_TRIED = {"sitecustomize", "usercustomize", "tensorflow", "jax", "flax", "wandb", "flash_attn"}


def starts_python(node: ast.AST) -> bool:
    """Whether the node is a command line, a list or tuple, that begins with this very interpreter."""
    return isinstance(node, ast.List | ast.Tuple) and bool(node.elts) and ast.unparse(node.elts[0]) == "sys.executable"


def test_no_code_starts_python_with_the_current_folder_on_its_path() -> None:
    found, unsafe = 0, []
    for path in (file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        for node in filter(starts_python, ast.walk(ast.parse(path.read_text()))):
            assert isinstance(node, ast.List | ast.Tuple)
            found += 1
            if len(node.elts) < 2 or ast.unparse(node.elts[1]) != "'-P'":
                unsafe.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found >= 5
    assert unsafe == []


@pytest.mark.parametrize(
    "command",
    [
        python(LEAN, upload.MODULE),
        hub.COMMAND,
        leakage.COMMAND,
        receiving.COMMAND,
        fetching.COMMAND,
        python(target_check.MODULE),
        python(FETCH, "nowhere", "org/model"),
        python("service.cli", "doctor"),
        [str(Path(sys.executable).with_name("adamss")), "jobs", "list"],
        compat(python("worker.main")),
        compat(python(LEAN, TRAINING)),
        compat(python(SERVER, "7", "adamss_core.warm")),
        python(SERVER, "7", upload.MODULE),
        compat(python(LEAN, inspection.MODULE)),
        compat(python(LEAN, preview.MODULE)),
        compat(python(LEAN, process.MODULE)),
        compat(python(LEAN, token_lengths.MODULE)),
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_a_process_does_not_import_what_lies_in_the_current_folder(command: list[str], tmp_path: Path) -> None:
    """Each ends for want of an input; what it must not do is to come upon our files, in its folder or in its home.

    The service as a whole runs among canaries in `tests/e2e/conftest.py`.
    """
    write_canaries(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "ADAMSS_HOME": str(tmp_path)}
    environment |= {"ADAMSS_URL": "http://127.0.0.1:9", "ADAMSS_BROKER_URL": "nothing://"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "canary" not in done.stderr + done.stdout
    assert songs(tmp_path) == []


def test_canaries_sing_where_the_current_folder_is_searched(tmp_path: Path) -> None:
    write_canaries(tmp_path)
    command = [sys.executable, "-c", "import torch"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "canary" in done.stderr
    assert songs(tmp_path) == ["torch"]


def test_a_child_whose_operator_left_an_entry_of_the_path_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`PYTHONPATH=$PYTHONPATH:/more` without a PYTHONPATH before: Python reads an empty entry as the current folder.

    Seen to fail: with the variable passed on as it is.
    """
    write_canaries(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":{ROOT}:.")
    for environment in (for_sandbox(os.environ, tmp_path), for_libraries(os.environ)):
        done = subprocess.run(
            python(LEAN, upload.MODULE), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, check=False
        )
        assert b"canary" not in done.stderr
    assert songs(tmp_path) == []


def write_canaries(folder: Path) -> None:
    """Files that take the place of modules where their folder is searched, and note it when they are imported."""
    song = folder / "song.txt"
    code = f"open({str(song)!r}, 'a').write(__name__ + '\\n')\nraise SystemExit('canary: ' + __file__)\n"
    names = {*sys.stdlib_module_names, *packages_distributions(), *CODE, *LIBRARIES_TRIED} - AT_START
    for name in names:
        if name.isidentifier():
            (folder / f"{name}.py").write_text(code)
            (folder / f"{name}.py").chmod(0o600)


def songs(folder: Path) -> list[str]:
    """Names of the canaries that were imported."""
    song = folder / "song.txt"
    return song.read_text().split() if song.exists() else []
