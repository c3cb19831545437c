"""Every example in the README is run, and its tables are true."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.app import app
from service.shared.settings import Settings
from tests.e2e.conftest import ROOT, Up
from tests.marks import compat

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: dict[str, list[str]] = {}
for language, code in BLOCK.findall(README):
    BLOCKS.setdefault(language, []).append(code)


@pytest.fixture
def desk(up: Up, tmp_path: Path) -> Up:
    """A folder that looks like the repository's to the examples: `data` is the home folder, the rows are few."""
    (tmp_path / "data").symlink_to(up.home)
    rows = tmp_path / "examples" / "data" / "movie_reviews_demo.csv"
    rows.parent.mkdir(parents=True)
    shutil.copy(up.rows, rows)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return replace(up, environ=up.environ | {"PATH": path})


def test_languages() -> None:
    assert set(BLOCKS) == {"bash", "console", "python"}


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("number", [0, *map(compat, range(1, len(BLOCKS["bash"])))])
def test_shell(desk: Up, tmp_path: Path, number: int) -> None:
    script = BLOCKS["bash"][number].replace("http://127.0.0.1:8642", desk.url)
    result = desk.run("bash", "-euo", "pipefail", "-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert '"error":{' not in result.stdout
    assert (tmp_path / "lora.zip").exists() or (tmp_path / "out" / "lora").exists()


# They train as the block of the shell does.
@pytest.mark.parametrize("number", [*map(compat, range(len(BLOCKS["python"])))])
def test_python(desk: Up, tmp_path: Path, number: int) -> None:
    result = desk.run(sys.executable, "-W", "ignore", "-c", BLOCKS["python"][number], cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "adapter_config.json" in {path.name for path in tmp_path.glob("*/lora/*")}


def test_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in "".join(BLOCKS["console"]).splitlines():
        command, *words = line.split("#")[0].split()
        if command == "make":
            assert words[0] in targets
        elif command == "adamss":
            assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, line


def test_folders_and_files_exist() -> None:
    for folder in re.findall(r"^\| `([\w/]+)/` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
    for link in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_settings_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `ADAMSS_(\w+)` \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    fields = Settings.model_fields
    assert [name.lower() for name, _, _ in rows] == list(fields)
    for name, default, meaning in rows:
        field = fields[name.lower()]
        assert default == ("–" if field.default in (None, [], {}) else f"`{field.default}`")  # noqa: RUF001
        assert meaning == " ".join((field.description or "").split())
