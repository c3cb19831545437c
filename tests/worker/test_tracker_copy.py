"""Numbers of a running job reach the tracker that its request names, and a tracker that fails costs the job nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.operations.trackers import MissingExtra
from service.shared.database.tables import Job, JobStatus, MetricRow, now
from tests.worker.support import Service, scaled_settings, wait_until
from worker import tracker_copy
from worker.tracker_copy import TrackerCopies

ASKED = {"openai": {"integrations": [{"type": "wandb", "wandb": {"project": "mine", "tags": ["a"]}}]}}


class Notebook:
    """A follower that notes what it is told."""

    where = "wandb sync here"

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self.steps: list[int] = []
        self.ended_as: str | None = None

    def write(self, row: Any) -> None:
        self.steps.append(row["step"])
        self.after = row["seq"]

    def flush(self) -> None:
        pass

    def close(self, job: Any) -> None:
        self.ended_as = job["status"]


def begun(service: Service, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Job, TrackerCopies]:
    """A job that asks for a copy, and the copies of a worker with these settings."""
    monkeypatch.setattr(tracker_copy, "LOOK_SECONDS", 0.01)
    job_id = service.add_job()
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.resolved = job.resolved | ASKED
    return service.job(job_id), TrackerCopies(service.settings.model_copy(update=settings), service.db)


def add_step(service: Service, job: Job, step: int) -> None:
    """Log a step, under the job's next sequence number."""
    with service.db.write() as session:
        row = session.get_one(Job, job.id)
        row.last_seq += 1
        values: dict[str, Any] = {"loss": 1.0 / step}
        of_step = {"step": step, "epoch": 0.0, "time": now(), "values": values}
        session.add(MetricRow(job_id=job.id, seq=row.last_seq, attempt=1, kind="train", **of_step))


def test_rows_are_copied_while_the_job_runs_and_the_last_ones_after_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook, opened = Notebook(), []

    def open_notebook(*arguments: Any) -> Notebook:
        opened.append(arguments)
        return notebook

    monkeypatch.setattr(tracker_copy, "open_follower", open_notebook)
    job, copies = begun(service, monkeypatch, wandb=True)
    with copies.of(job):
        add_step(service, job, 1)
        wait_until(lambda: notebook.steps == [1])
        add_step(service, job, 2)
        service.set_status(job.id, JobStatus.SUCCEEDED)
    copies.close()
    assert notebook.steps == [1, 2]
    assert notebook.ended_as == "succeeded"
    ((target, shown, folder, options),) = opened
    assert (target, options) == ("wandb", {"project": "mine", "tags": ["a"]})
    assert (shown["id"], folder) == (job.id, service.settings.resolved_home / "wandb")
    assert [event.type for event in service.events(job.id)] == ["integration_started"]


def test_a_tracker_that_fails_is_an_event_and_no_more(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Notebook):
        def write(self, row: Any) -> None:
            raise ConnectionError("the tracker went away")

    for follower, problem in ((Broken(), "the tracker went away"), (None, "wandb is not installed")):

        def opened(*_: Any, follower: Notebook | None = follower) -> Notebook:
            if follower is None:
                raise MissingExtra("wandb is not installed here.")
            return follower

        monkeypatch.setattr(tracker_copy, "open_follower", opened)
        job, copies = begun(service, monkeypatch, wandb=True)
        add_step(service, job, 1)
        with copies.of(job):
            wait_until(lambda: any(event.type == "integration_failed" for event in service.events(job.id)))  # noqa: B023
        copies.close()
        (failed,) = [event for event in service.events(job.id) if event.type == "integration_failed"]
        assert problem in failed.message
        assert f"adamss jobs export {job.id} --to wandb" in failed.message


def test_nothing_is_copied_that_the_operator_has_not_allowed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(tracker_copy, "open_follower", forbidden)
    job, copies = begun(service, monkeypatch)
    with copies.of(job):
        add_step(service, job, 1)
    copies.close()
    assert service.events(job.id) == []


def test_the_real_client_writes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    service = Service(scaled_settings(tmp_path / "home"))
    job, copies = begun(service, monkeypatch, wandb=True)
    with copies.of(job):
        add_step(service, job, 1)
        service.set_status(job.id, JobStatus.SUCCEEDED)
    monkeypatch.setattr(tracker_copy, "CLOSE_SECONDS", 60.0)
    copies.close()
    assert [event.type for event in service.events(job.id)] == ["integration_started"]
    assert list((tmp_path / "home/wandb").glob(f"wandb/offline-run-*/run-{job.id}.wandb"))
    service.db.close()
