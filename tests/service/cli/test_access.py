"""Roles, expiry, quotas and audit entries from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.app import app
from service.cli.output import CliError
from service.shared.errors import NotFound


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("ADAMSS_DATABASE_URL", "ADAMSS_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ADAMSS_HOME", str(tmp_path))
    return CliRunner()


def test_key_with_role_and_expiry(runner: CliRunner) -> None:
    words = ["keys", "create", "ci", "--project", "vision", "--role", "read", "--expires", "30d", "--json"]
    made = json.loads(runner.invoke(app, words).stdout)
    assert (made["role"], made["project"]) == ("read", "vision")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    (listed,) = json.loads(runner.invoke(app, ["keys", "list", "--json"]).stdout)
    assert (listed["role"], listed["revoked_at"]) == ("read", None)
    assert made["key"] not in json.dumps(listed)
    assert runner.invoke(app, ["keys", "revoke", made["id"]]).exit_code == 0
    (listed,) = json.loads(runner.invoke(app, ["keys", "list", "--json"]).stdout)
    assert listed["revoked_at"]


@pytest.mark.parametrize("expires", ["3y", "0d", "-1d", "d", "1.5h", "999999d", ""])
def test_invalid_expiry_is_refused(runner: CliRunner, expires: str) -> None:
    result = runner.invoke(app, ["keys", "create", "ci", "--expires", expires])
    assert isinstance(result.exception, CliError)
    assert "such as 30d" in str(result.exception)


def test_quotas_are_set_and_audited(runner: CliRunner) -> None:
    assert runner.invoke(app, ["keys", "create", "ci", "--project", "vision"]).exit_code == 0
    quota = ["projects", "quota", "vision", "--running-jobs", "2", "--storage-bytes", "50000000000"]
    assert runner.invoke(app, quota).exit_code == 0
    (project,) = json.loads(runner.invoke(app, ["projects", "list", "--json"]).stdout)
    assert (project["quotas"]["running_jobs"], project["quotas"]["storage_bytes"]) == (2, 50_000_000_000)
    assert runner.invoke(app, ["projects", "quota", "vision", "--running-jobs", "default"]).exit_code == 0
    (project,) = json.loads(runner.invoke(app, ["projects", "list", "--json"]).stdout)
    assert project["quotas"]["running_jobs"] is None
    for wrong in (["vision"], ["vision", "--running-jobs", "many"], ["vision", "--running-jobs", str(2**31)]):
        assert isinstance(runner.invoke(app, ["projects", "quota", *wrong]).exception, CliError)
    entries = json.loads(runner.invoke(app, ["audit", "--project", "vision", "--json"]).stdout)
    assert [entry["action"] for entry in entries] == [
        "projects quota running_jobs=default",
        "projects quota running_jobs=2 storage_bytes=50000000000",
        "keys create ci",
    ]
    assert "projects quota" in runner.invoke(app, ["audit"]).stdout


def test_link_signs_in_without_the_key(runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link does not hold the key; without a key, the error tells how to create one."""
    without = runner.invoke(app, ["link"])
    assert isinstance(without.exception, CliError)
    assert "adamss keys create" in str(without.exception)
    (tmp_path / "api_key").write_text("adamss_of_another_database\n")
    foreign = runner.invoke(app, ["link"])
    assert isinstance(foreign.exception, NotFound)
    assert "adamss keys create" in str(foreign.exception)
    monkeypatch.setenv("ADAMSS_API_KEY", "configured-key")
    one, other = (runner.invoke(app, ["link"]).stdout.strip() for _ in range(2))
    assert one.startswith("http://127.0.0.1:8642/signin?code=")
    assert one != other
    assert "configured-key" not in one
