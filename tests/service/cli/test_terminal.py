"""Commands show the text of others, and never obey it."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.live import Live
from typer.testing import CliRunner

import service.cli
from adamss_core.visible import UNSAFE, visible
from service.cli.app import app
from service.cli.csv_output import GuardedWriter, guarded
from service.cli.job_view import JobView, render_job
from service.cli.output import report
from service.cli.terminal import console
from service.client.errors import ApiError
from service.client.types import Listing
from tests.service.cli.test_job_view import job

# A window's title, colours (C0 and C1), markup, an override of direction, a forged line, a forged column, DEL.
HOSTILE = "[/nope]\x1b]0;owned\x07\x9b31m\u202egnp\u2066\u200f\r\nforged: yes\tcell\x7f"
COLUMN = {
    "name": HOSTILE,
    "type": "text",
    "empty": 0,
    "distinct": 1,
    "distinct_capped": False,
    "min_length": 1,
    "max_length": 2,
    "mean_length": 1.0,
    "values": {HOSTILE: 1},
}
DATASET = {
    "id": "ds_1",
    "name": HOSTILE,
    "rows": 1,
    "size_bytes": 1,
    "created_at": None,
    "columns": [COLUMN],
    "notices": [{"message": HOSTILE}],
    "problems": [{"row": 1, "column": HOSTILE, "message": HOSTILE}],
    "problem_count": 1,
}
EXAMPLE = {
    "row": 1,
    "target": HOSTILE,
    "tokens": [{"token": HOSTILE, "text": HOSTILE, "trained": True}],
    "token_count": 1,
    "truncated": False,
}
PREVIEW = {
    "rows": [{HOSTILE: HOSTILE}],
    "examples": [EXAMPLE],
    "over_length": 0,
    "checked": 1,
    "limit": 9,
    "left_out": {HOSTILE: 1},
    "remarks": [{"message": HOSTILE}],
}
SAMPLES = {"step": 1, "samples": [{"row": 1, "prompt": HOSTILE, "expected": HOSTILE, "completion": HOSTILE}]}
WORST = {"data": "train", "row": 1, "loss": 1.0, "expected": HOSTILE, "predicted": HOSTILE, "input": {HOSTILE: HOSTILE}}
FAILED = job(
    name=HOSTILE,
    status="failed",
    error={"code": "x", "message": HOSTILE, "hint": HOSTILE},
    result={HOSTILE: HOSTILE},
    warnings=[{"code": HOSTILE, "message": HOSTILE}],
)
ANSWERS: dict[str, Any] = {
    "list_jobs": Listing([FAILED], 312),
    "get_job": FAILED,
    "datasets": Listing([DATASET], 1),
    "dataset": DATASET,
    "preview": PREVIEW,
    "models": [{"name": HOSTILE, "problem": HOSTILE}],
    "artifacts": [{"name": HOSTILE, "size_bytes": 1, "sha256": HOSTILE}],
    "worst": [WORST],
    "iter_logs": ["fine\n", HOSTILE],
    "iter_metrics": [{"step": 1, "epoch": 1.0, "time": HOSTILE, "values": {HOSTILE: 1.0}}],
    "events": [{"seq": 1, "type": "samples", "message": HOSTILE, "data": SAMPLES}],
    "metrics": [],
    "phases": [{"phase": HOSTILE, "artifact": HOSTILE, "attempt": 1, "began_at": HOSTILE, "seconds": 1.0}],
    "retention": {HOSTILE: "2026-01-01T10:00:00Z"},
    "subspaces": {"modules": {HOSTILE: [{"active": True, "importance": 1.0}]}},
    "dry_run": {"estimate": {HOSTILE: HOSTILE}, "warnings": [HOSTILE]},
}
COMMANDS = [
    "jobs list",
    "jobs show JOB",
    "jobs watch JOB",
    "jobs logs JOB",
    "jobs metrics JOB",
    "jobs metrics JOB --csv",
    "jobs worst JOB",
    "jobs samples JOB",
    "jobs submit SPEC --dry-run",
    "datasets list",
    "datasets show ds_1",
    "datasets preview ds_1",
    "datasets preview ds_1 --model m",
    "models",
    "artifacts list JOB",
]


class HostileService:
    """A client whose every answer is hostile."""

    def __enter__(self) -> HostileService:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name == "delete_job":
            raise ApiError(HOSTILE, status=404, param=HOSTILE, also=[{"param": HOSTILE, "message": HOSTILE}])
        if name == "events":
            return lambda job, after=0: ANSWERS["events"] if after == 0 else []
        return lambda *_, **__: ANSWERS[name]


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.Client", HostileService)
    monkeypatch.setenv("TERM", "dumb")  # rich's own colours are off
    monkeypatch.setenv("COLUMNS", "500")


def run(monkeypatch: pytest.MonkeyPatch, command: str, folder: Path, *, terminal: bool) -> str:
    """Run a command in this process, and return what it wrote to standard output and error."""
    (folder / "spec.yaml").write_text("name: x")
    arguments = [str(folder / "spec.yaml") if part == "SPEC" else part for part in command.split()]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    try:
        app(arguments, standalone_mode=False)
    except Exception as error:
        report(error)
    out.flush()
    return out.buffer.getvalue().decode()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("command", [*COMMANDS, "jobs delete JOB"])
@pytest.mark.usefixtures("hostile")
def test_text_of_others_is_shown_and_never_obeyed(
    monkeypatch: pytest.MonkeyPatch, command: str, terminal: bool, tmp_path: Path
) -> None:
    """Seen to fail for each command, in most on both sides: with tables and lines printed as they come."""
    written = run(monkeypatch, command, tmp_path, terminal=terminal)
    assert "nope" in written or command == "jobs metrics JOB"  # whose names are titles
    if "--csv" in command and not terminal:
        assert HOSTILE in next(csv.reader(io.StringIO(written, newline="")))  # a file's content is kept
        return
    assert [sign for sign in UNSAFE.findall(written) if sign not in "\n\t"] == []
    if command not in ("jobs logs JOB", "jobs metrics JOB --csv"):  # whose texts have lines of their own
        assert not [line for line in written.splitlines() if line.startswith("forged")]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.usefixtures("hostile")
def test_json_is_the_same_value_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, tmp_path: Path
) -> None:
    written = run(monkeypatch, "jobs list --json", tmp_path, terminal=terminal)
    assert json.loads(written)[0]["name"] == HOSTILE
    assert set(UNSAFE.findall(written)) == {"\n"}


def test_a_live_display_shows_control_characters_inside_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live display moves the cursor itself; nothing else may."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with Live(console=console(), auto_refresh=False) as live:
        live.update(render_job(JobView(FAILED, values={"eval_[/nope]": 1.0}), 100, 40), refresh=True)
    assert "\x9b" not in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert r"\x1b]0;owned\x07" in out.getvalue()


def test_only_one_module_writes_to_the_terminal() -> None:
    """Seen to fail: at 65 places that wrote by themselves."""
    found = []
    for path in sorted(Path(service.cli.__file__).parent.glob("*.py")):
        if path.name != "terminal.py":
            nodes = ast.walk(ast.parse(path.read_text()))
            found += [f"{path.name}: {ast.unparse(node)}" for node in nodes if _writes(node)]
    assert found == []


def _writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("print", "Console", "echo", "secho")
    if isinstance(node, ast.ImportFrom) and node.module == "rich":
        return any(name.name in ("print", "get_console") for name in node.names)
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    return (node.value.id, node.attr) in {
        *(("sys", stream) for stream in ("stdout", "stderr", "__stdout__", "__stderr__")),
        *((module, name) for module in ("typer", "click") for name in ("echo", "secho")),
        ("rich", "print"),
        ("rich", "get_console"),
    }


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("-1.5e-3", "-1.5e-3"),
        ("+.5", "+.5"),
        ("-inf", "-inf"),
        ("-1=1", "'-1=1"),
        ("-1\n", "'-1\n"),
        ("plain", "plain"),
        ("'tis", "'tis"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_formulas_in_csv_are_text_and_numbers_are_numbers(cell: object, shown: object) -> None:
    assert guarded(cell) == shown
    if isinstance(shown, str):
        assert re.sub(r"\A'(?='*[=+\-@\t\r])", "", shown) == cell  # the README's way back


def test_titles_and_cells_of_csv_are_guarded() -> None:
    out = io.StringIO()
    writer = GuardedWriter(out, ["=title", "b"])
    writer.write([1, "@cell"])
    writer.write_fields({"b": "-x", "=title": None})
    assert out.getvalue() == "'=title,b\n1,'@cell\n,'-x\n"


def test_an_ascii_terminal_breaks_nothing(tmp_path: Path) -> None:
    """Seen to fail: with streams left as Python opens them, which raise UnicodeEncodeError."""
    code = """
import sys
from service.cli import terminal
from service.cli.app import main
terminal.prepare_streams()
terminal.put("\\u2026 \\xe9 \\U0001f600", err=True)
terminal.put_json({"\\xe9": "\\u2026"})
terminal.console().print("\\u2581\\u2588 \\u2026")
sys.argv = ["adamss", "jobs", "list", "--help"]
main()
"""
    env = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b". \\xe9 \\U0001f600\n")
    first = done.stdout.decode("ascii").splitlines()
    assert json.loads("".join(first[:3])) == {"é": "…"}
    assert first[3] == "_# ."


def test_markup_in_arguments_is_no_markup() -> None:
    result = CliRunner().invoke(app, ["datasets", "preview", "ds_1", "--spec", "[/nope]"])
    assert result.exit_code == 2
    assert "[/nope]" in result.output


def test_escapes_are_readable_and_stable() -> None:
    assert visible("a\tb\x1b\u202e\n") == r"a\tb\x1b\u202e\n"
    assert visible("a\n\x85", kept="\n") == "a\n\\x85"
    assert visible(visible(HOSTILE)) == visible(HOSTILE)
    assert visible("Zürich 東京 👩‍👩‍👧 עברית") == "Zürich 東京 👩‍👩‍👧 עברית"
