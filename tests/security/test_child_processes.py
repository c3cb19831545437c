"""Children import what is installed, never what lies in the folder that somebody happens to stand in."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from service.base_models import inspection
from service.datasets import hub, leakage, preview, upload
from service.predict import process
from service.shared.processes.forkserver import LEAN
from service.shared.processes.spawned_process import python
from tests.marks import compat

ROOT = Path(__file__).resolve().parents[2]
CODE = ("adamss_core", "service", "worker", "migrations", "examples", "benchmarks")
HOSTILE = ("service", "worker", "adamss_core", "random", "json", "torch")


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
        upload.COMMAND,
        hub.COMMAND,
        leakage.COMMAND,
        compat(python(LEAN, inspection.MODULE)),
        compat(python(LEAN, preview.MODULE)),
        compat(python(LEAN, process.MODULE)),
    ],
    ids=lambda command: command[-1],
)
def test_a_child_does_not_import_what_lies_in_the_current_folder(command: list[str], tmp_path: Path) -> None:
    """Each ends for want of an input; what it must not do is to come upon our files."""
    write_hostile(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "hostile" not in done.stderr + done.stdout


def write_hostile(folder: Path) -> None:
    """Files that take the place of modules where the current folder is searched first."""
    for name in HOSTILE:
        (folder / f"{name}.py").write_text("raise SystemExit('hostile: imported from the current folder')\n")
