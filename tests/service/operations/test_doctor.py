"""What the doctor finds, one illness at a time."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from service.cli.app import app
from service.operations import doctor
from service.operations.doctor import Finding, examine
from service.shared.database.clock import database_now
from service.shared.database.engine import make_engine
from service.shared.database.tables import Worker, now
from service.shared.settings import Settings
from service.shared.storage.pairing import open_database
from service.shared.storage.trash import Trash
from tests.service.support import Service, run_job


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes seconds; the devices have a test of their own."""
    monkeypatch.setattr(doctor, "_devices", lambda: iter(()))


def states(settings: Settings) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(settings)}


def add_worker(service: Service) -> None:
    with service.db.write() as session:
        seen = database_now(session)
        session.add(Worker(id="w", host="h", pid=1, devices=["cpu"], started_at=now(), seen_at=seen))


def test_a_healthy_service(any_service: Service) -> None:
    add_worker(any_service)
    home = any_service.settings.resolved_home
    for path in (home, *home.rglob("*")):  # as the commands start it, unlike a service in a test's process
        path.chmod(path.stat().st_mode & ~0o077)
    found = states(any_service.settings)
    assert {finding.state for name, finding in found.items() if name != "disk"} == {"ok"}, found
    connections = set() if any_service.db.is_sqlite else {"connections"}
    checks = {"versions", "home", "disk", "database", "migrations", "workers", "models", "jobs", "broker"}
    assert set(found) == checks | connections


def test_no_worker_and_one_that_was_lost(service: Service) -> None:
    job_id = service.submit()["id"]
    run_job(service, job_id)
    with service.db.write() as session:
        late = database_now(session) - timedelta(seconds=1)
        session.execute(text("UPDATE jobs SET lease_until = :late"), {"late": late.replace(tzinfo=None).isoformat(" ")})
    found = states(service.settings)
    assert found["workers"].state == "problem"
    assert "adamss worker" in found["workers"].remedy
    assert found["jobs"].state == "warning"
    assert job_id in found["jobs"].message


def test_a_database_that_is_not_there_too_old_or_damaged(service: Service) -> None:
    engine = make_engine(service.settings.resolved_database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    assert states(service.settings)["migrations"].state == "problem"
    unreachable = service.settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/adamss"})
    found = states(unreachable)
    assert found["database"].state == "problem"
    assert "ADAMSS_DATABASE_URL" in found["database"].remedy
    assert "workers" not in found
    database = service.settings.files.database
    service.db.close()
    database.write_bytes(database.read_bytes()[:4096] + b"\0" * 40_000)
    assert states(service.settings)["database"].state == "problem"


def test_a_broker_that_is_gone(service: Service) -> None:
    gone = service.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    assert states(gone)["broker"].state == "problem"


def test_nothing_is_made_by_looking(settings: Settings) -> None:
    found = states(settings)
    assert (found["home"].state, found["database"].state) == ("problem", "problem")
    assert not settings.resolved_home.exists()


def test_the_command_ends_with_one_and_names_the_remedy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMSS_HOME", str(settings.home))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "adamss up" in result.output
    listed = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert {"check", "state", "message", "remedy"} == set(listed[0])


@pytest.mark.parametrize(
    ("driver", "torch", "state"),
    [(None, "0", "ok"), ("A100, 40960 MiB", "1", "ok"), ("A100, 40960 MiB", "0", "problem"), (None, None, "problem")],
)
def test_devices(driver: str | None, torch: str | None, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real check, on what driver and torch are said to answer
    monkeypatch.setattr(doctor, "_output", lambda command: driver if command[0] == "nvidia-smi" else torch)
    assert [finding.state for finding in doctor._devices()] == [state]


def test_a_home_folder_of_another_database(service: Service) -> None:
    service.settings.files.home_id.write_text("another\n")
    found = states(service.settings)["pair"]
    assert found.state == "problem"
    assert "id another" in found.message
    assert "ADAMSS_HOME" in found.remedy


def test_trash_is_shown_and_emptied(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = service.settings.files.dataset_rows("ds_gone")
    rows.write_text("x" * 2_000_000)
    Trash(service.settings.files).move(rows)
    assert "2.0 MB" in states(service.settings)["trash"].message
    monkeypatch.setenv("ADAMSS_HOME", str(service.settings.resolved_home))
    done = CliRunner().invoke(app, ["doctor", "--empty-trash"])
    assert "2.0 MB removed" in done.output
    assert "trash" not in states(service.settings)


def test_a_restored_home_folder_without_its_base_models(service: Service) -> None:
    service.submit()
    (service.settings.files.model("tiny")).rename(service.settings.resolved_home / "elsewhere")
    found = states(service.settings)["models"]
    assert (found.state, found.message.partition(":")[0]) == ("warning", "tiny")
    assert states(service.settings)["workers"].state == "problem"


def test_jobs_that_no_active_worker_understands(service: Service) -> None:
    add_worker(service)  # of a release before the versions
    service.submit()
    assert states(service.settings)["workers"].state == "ok"
    service.submit(adamss={"basis": "inputs"})
    found = states(service.settings)["workers"]
    assert (found.state, found.message[:6]) == ("warning", "1 queu")


def test_more_connections_than_postgresql_allows(settings: Settings, postgres_url: str) -> None:
    settings = settings.model_copy(update={"database_url": postgres_url})
    open_database(settings).close()
    assert states(settings)["connections"].state == "ok"
    many = settings.model_copy(update={"api_processes": 20})
    found = states(many)["connections"]
    assert (found.state, found.message[:44]) == ("warning", "API and 0 workers open 200 connections at mo")
    assert "max_connections to 203" in found.remedy
