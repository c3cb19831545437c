from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic_settings import SettingsError
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.output import Exit, report
from service.shared.settings import Settings

pytestmark = pytest.mark.slow

COMMANDS = ["up", "api", "worker", "init", "models", "jobs", "datasets", "artifacts", "keys", "queue"]
JOBS = ["submit", "list", "show", "watch", "cancel", "pause", "resume", "logs", "metrics"]
JOBS += ["clone", "events", "samples", "checkpoints", "evaluation"]


def adamss(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env=clean | {"COLUMNS": "120"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line_imports_no_heavy_library() -> None:
    heavy = {"torch", "transformers", "peft", "sqlalchemy", "celery", "fastapi", "httpx", "pydantic"}
    code = f"import sys, service.cli.app; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_watch_imports_no_torch() -> None:
    code = "import sys, service.cli.watch, service.client; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_help_names_every_command_and_shows_examples() -> None:
    begun = time.process_time()
    text = adamss("--help").stdout
    assert time.process_time() - begun < 2.0
    for command in COMMANDS:
        assert command in text
    assert "adamss jobs submit spec.yaml" in text
    jobs = CliRunner().invoke(app, ["jobs", "--help"]).output
    for command in JOBS:
        assert command in jobs
        assert CliRunner().invoke(app, ["jobs", command, "--help"]).exit_code == 0


def test_unreachable_service_exits_with_3(tmp_path: Path) -> None:
    result = adamss("jobs", "list", ADAMSS_HOME=str(tmp_path), ADAMSS_URL="http://127.0.0.1:9")
    assert result.returncode == 3
    assert result.stderr.startswith("error: No answer from http://127.0.0.1:9")
    assert "adamss up" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["nonsense"], {}, "nonsense"),
        (["jobs", "submit"], {}, "spec"),
        (["init", "--task", "juggling", "-"], {}, "text-classification"),
        (["jobs", "list"], {"ADAMSS_PORT": "many"}, "ADAMSS_PORT"),
        (["up"], {"ADAMSS_HOST": "0.0.0.0"}, "adamss keys create"),
    ],
)
def test_invalid_call_exits_with_2(tmp_path: Path, arguments: list[str], environ: dict[str, str], message: str) -> None:
    result = adamss(*arguments, ADAMSS_HOME=str(tmp_path), **environ)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_invalid_spec_file_exits_with_2(tmp_path: Path) -> None:
    for text, message in (("a: [", "is not YAML"), ("- a", "must hold the fields")):
        file = tmp_path / "spec.yaml"
        file.write_text(text)
        result = adamss("jobs", "submit", str(file), ADAMSS_HOME=str(tmp_path))
        assert result.returncode == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    assert adamss("init", str(file)).returncode == 0
    assert adamss("init", str(file)).returncode == 2
    assert adamss("init", str(file), "--force").returncode == 0


def test_version_and_exit_codes_are_shown() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"adamss {version('adamss')}\n")
    assert "130 interrupted" in " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())


def test_invalid_list_setting_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, a traceback of the settings library was printed."""
    monkeypatch.setenv("ADAMSS_HUB_MODELS", "org/name")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert report(caught.value) == Exit.USAGE
    assert 'ADAMSS_HUB_MODELS: must be a JSON list, such as ["one", "two"]' in capsys.readouterr().err
