"""Until when a job's files are kept, as the API says it; the worker's side is in tests/worker/test_expired_files.py."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from service.cli import retention as command
from service.shared.database.tables import Checkpoint, Job
from service.shared.jobs import states
from tests.service.jobs.test_time_limit import ended as ended_at_limit
from tests.service.jobs.test_time_limit import resume
from tests.service.support import Service, error_of, run_job


def kept(service: Service, job: str) -> dict[str, datetime | None]:
    found = service.client.get(f"/jobs/{job}/retention").json()["data"]
    return {one["what"]: one["kept_until"] and datetime.fromisoformat(one["kept_until"]) for one in found}


def test_a_job_says_until_when_its_files_are_kept(any_service: Service) -> None:
    service = any_service
    service.settings.retain_artifacts_days = 7.0
    service.settings.retain_logs_days = 3.0
    job = service.submit(retention={"logs_days": "forever", "checkpoints_days": 0.5})["id"]
    assert kept(service, job) == dict.fromkeys(["artifacts", "checkpoints", "logs"]), "it has not ended"
    attempt = run_job(service, job)
    with service.db.write() as session:
        assert states.succeed(session, job, attempt, {})
    end = datetime.fromisoformat(service.client.get(f"/jobs/{job}").json()["ended_at"])
    expected = {"artifacts": end + timedelta(days=7), "checkpoints": end + timedelta(hours=12), "logs": None}
    assert kept(service, job) == expected
    assert service.client.get("/jobs/job_aaaaaaaaaaaa/retention").status_code == 404


@pytest.mark.parametrize("days", [0, -1, 1e6, "always", True, []])
def test_an_absurd_time_is_refused(service: Service, days: object) -> None:
    assert service.refused(retention={"artifacts_days": days})["param"].startswith("retention.artifacts_days")


def test_a_job_whose_checkpoints_are_gone_is_not_resumed(service: Service) -> None:
    job = ended_at_limit(service)
    with service.db.write() as session:
        row = session.get_one(Job, job)
        row.step = 5
        fields = {"attempt": 1, "path": "checkpoints/step-00000005", "best": True, "values": {}}
        session.add(Checkpoint(job_id=job, step=5, created_at=row.created_at, **fields))
    with service.db.write() as session:
        session.delete(session.get_one(Checkpoint, (job, 5)))
    error = error_of(resume(service, job, 120).json())
    assert error["code"] == "checkpoints_gone"
    assert "init_from" in error["message"]


def test_the_command_lists_what_is_over(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAMSS_HOME", str(service.settings.resolved_home))
    job = service.submit(retention={"logs_days": 1})["id"]
    attempt = run_job(service, job)
    with service.db.write() as session:
        assert states.succeed(session, job, attempt, {})
    folder = service.settings.files.job(job)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.log.write_text("x" * 2_000)
    command.retention()
    assert capsys.readouterr().out == ""
    command.retention(show_all=True)
    assert job in capsys.readouterr().out
    with service.db.write() as session:
        row = session.get_one(Job, job)
        assert row.ended_at is not None
        row.ended_at -= timedelta(days=2)
    command.retention()
    printed = capsys.readouterr()
    assert printed.out.split("\t")[:2] == ["logs", job]
    assert printed.err.startswith("2.0 KB are to be removed")
    assert folder.log.exists()
