"""The driver of sweeps on rows alone: what one pass starts, stops, keeps and ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from service.shared.database.tables import (
    Artifact,
    Job,
    JobStatus,
    MetricRow,
    Sweep,
    SweepStatus,
    SweepTrial,
    now,
)
from service.shared.errors import Conflict
from service.shared.jobs import states
from service.shared.sweeps.trial_table import best_first, table_of
from service.sweeps.sweep_views import render
from tests.worker.support import PROJECT, Service
from worker.sweep_driver import SweepDriver

SWEEP = "sweep_test"


class Driven:
    """A sweep of paused trials, with what stands in for their workers."""

    def __init__(self, service: Service, trials: int = 4, seeds: int = 1, **request: Any) -> None:
        self.service = service
        self.driver = SweepDriver(service.settings, service.db)
        self.jobs = [[service.add_job() for _ in range(seeds)] for _ in range(trials)]
        asked = {"parallel": 2, "keep": 1, "stop": {"first": 1, "factor": 2}, **request}
        with service.db.write() as session:
            sweep = Sweep(id=SWEEP, project_id=PROJECT, name="s", state=SweepStatus.RUNNING, request=asked)
            sweep.objective, sweep.direction, sweep.body_sha256, sweep.created_at = "accuracy", "max", "", now()
            session.add(sweep)
            session.flush()
            for number, ids in enumerate(self.jobs, start=1):
                session.add(SweepTrial(sweep_id=SWEEP, number=number, params={}, evaluations={}))
                for job_id in ids:
                    job = session.get_one(Job, job_id)
                    job.sweep_id, job.trial = SWEEP, number
                    states.pause(session, job)

    def step(self) -> list[str]:
        """Make a pass; return the states of the trials."""
        self.driver.drive(SWEEP)
        with self.service.db.read() as session:
            return [row.state for row in table_of(session, session.get_one(Sweep, SWEEP))]

    def statuses(self) -> list[str]:
        return [str(self.service.job(ids[0]).status) for ids in self.jobs]

    def evaluate(self, trial: int, values: Sequence[float | None], seed: int = 0) -> None:
        """Claim the job if it waits, and report evaluations."""
        job_id = self.jobs[trial - 1][seed]
        with self.service.db.write() as session:
            states.claim(session, job_id, "worker-1", 60.0)
            for step, value in enumerate(values, start=1):
                row = MetricRow(job_id=job_id, seq=100 + step, attempt=1, kind="eval", step=step, epoch=0.1 * step)
                row.time, row.values = now(), {"eval_accuracy": value}
                session.add(row)

    def succeed(self, trial: int, value: float | None, seed: int = 0) -> None:
        job_id = self.jobs[trial - 1][seed]
        path = self.service.settings.files.job(job_id).path / "adapter.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"zip")
        with self.service.db.write() as session:
            states.claim(session, job_id, "worker-1", 60.0)
            home = self.service.settings.resolved_home
            own = {"path": str(path.relative_to(home)), "size_bytes": 3, "sha256": "0" * 64, "manifest": {}}
            session.add(Artifact(job_id=job_id, name="adapter", created_at=now(), **own))
            assert states.succeed(session, job_id, 1, {"eval_accuracy": value})

    def sweep(self) -> Sweep:
        with self.service.db.read() as session:
            return session.get_one(Sweep, SWEEP)


def test_as_many_trials_as_asked_run_in_their_order(service: Service) -> None:
    driven = Driven(service)
    assert driven.step() == ["running", "running", "waiting", "waiting"]
    assert driven.step() == ["running", "running", "waiting", "waiting"], "another pass starts nothing again"
    driven.succeed(2, 0.5)
    driven.step()
    assert driven.statuses() == ["queued", "succeeded", "queued", "paused"]


def test_a_trial_that_does_badly_stops_and_is_neither_failed_nor_cancelled(service: Service) -> None:
    driven = Driven(service)
    driven.step()
    driven.evaluate(1, [0.8])
    driven.evaluate(2, [0.6, 0.9])  # the second evaluation came before the decision, and does not count
    assert driven.step()[:2] == ["running", "stopped"]
    job_id = driven.jobs[1][0]
    assert service.job(job_id).status == JobStatus.CANCELLING
    with service.db.write() as session:
        assert states.give_back(session, job_id, 1, charge=False)
    job = service.job(job_id)
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert job.result == {"eval_accuracy": 0.6, "stopped_early": "halving"}
    assert "others did better" in service.events(job_id)[-1].message
    driven.step()
    assert driven.statuses()[2] == "queued", "its place is taken"


def test_only_the_best_keep_their_artifacts_and_the_sweep_ends(service: Service) -> None:
    driven = Driven(service, trials=3, stop=None, keep=2, parallel=3)
    driven.step()
    for trial, value in enumerate([0.5, 0.9, 0.7], start=1):
        driven.succeed(trial, value)
    assert driven.step() == ["complete"] * 3
    kept = [[artifact.name for artifact in service.artifacts(ids[0])] for ids in driven.jobs]
    assert kept == [[], ["adapter"], ["adapter"]]
    assert not (service.settings.files.job(driven.jobs[0][0]).path / "adapter.zip").exists()
    sweep = driven.sweep()
    assert (sweep.state, sweep.ended_at is None) == (SweepStatus.SUCCEEDED, False)
    with service.db.read() as session:
        assert [row.trial.number for row in best_first(sweep, table_of(session, sweep))] == [2, 3, 1]


def test_a_sweep_whose_metric_is_undefined_stops_none_keeps_a_model_and_says_so(service: Service) -> None:
    driven = Driven(service, trials=3, parallel=3)
    driven.step()
    for trial in (1, 2, 3):
        driven.evaluate(trial, [None])
    assert driven.step() == ["running"] * 3
    for trial in (1, 2, 3):
        driven.succeed(trial, None)
    assert driven.step() == ["complete"] * 3
    assert [len(service.artifacts(ids[0])) for ids in driven.jobs] == [1, 0, 0]
    with service.db.read() as session:
        shown = render(session, driven.sweep())
    assert (shown.status, shown.best) == (SweepStatus.SUCCEEDED, None)
    assert shown.no_best is not None
    assert "accuracy was undefined at each evaluation" in shown.no_best
    assert shown.no_best.endswith("Artifacts are kept of trial 1.")


def test_seeds_count_together_as_mean_and_standard_error(service: Service) -> None:
    driven = Driven(service, trials=2, seeds=2, stop=None)
    driven.step()
    for trial, (first, second) in enumerate([(0.5, 0.9), (0.75, 0.77)], start=1):
        driven.succeed(trial, first)
        driven.succeed(trial, second, seed=1)
    driven.step()
    with service.db.read() as session:
        best, other = best_first(driven.sweep(), table_of(session, driven.sweep()))
    assert (best.trial.number, other.trial.number) == (2, 1)
    assert [best.value, best.error, other.value, other.error] == pytest.approx([0.76, 0.01, 0.7, 0.2])


@pytest.mark.parametrize("limit", ["time_limit_seconds", "device_hours"])
def test_past_a_limit_no_trial_goes_on(service: Service, limit: str) -> None:
    asked: dict[str, Any] = {limit: 1.0}
    driven = Driven(service, stop=None, **asked)
    driven.step()
    driven.evaluate(1, [0.8, 0.7])
    assert driven.step()[0] == "running"
    with service.db.write() as session:
        session.get_one(Sweep, SWEEP).created_at -= timedelta(seconds=2)
        started = next(event for event in service.events(driven.jobs[0][0]) if event.type == "started")
        session.merge(started).time -= timedelta(hours=1)
    assert driven.step() == ["stopped"] * 4
    with service.db.write() as session:
        states.give_back(session, driven.jobs[0][0], 1, charge=False)
    driven.step()
    sweep = driven.sweep()
    assert sweep.state == SweepStatus.SUCCEEDED
    with service.db.read() as session:
        assert [(row.trial.number, row.value) for row in best_first(sweep, table_of(session, sweep))] == [(1, 0.8)]


def test_a_sweep_that_does_not_run_is_left_alone(service: Service) -> None:
    driven = Driven(service)
    with service.db.write() as session:
        session.get_one(Sweep, SWEEP).state = SweepStatus.PAUSED
    driven.driver.round()
    assert driven.statuses() == ["paused"] * 4


def test_a_sweep_that_cannot_be_moved_holds_up_no_other(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driven(service).driver
    own: dict[str, Any] = {"project_id": PROJECT, "state": SweepStatus.RUNNING, "request": {"keep": 1, "parallel": 1}}
    own |= {"objective": "accuracy", "direction": "max", "body_sha256": "", "created_at": now()}
    with service.db.write() as session:
        session.add_all([Sweep(id=name, name=name, **own) for name in ("sweep_a", "sweep_z")])
    drive = driver.drive

    def fails_once(sweep_id: str) -> None:
        if sweep_id == SWEEP:
            raise Conflict("A job was moved on.", code="conflict")
        drive(sweep_id)

    monkeypatch.setattr(driver, "drive", fails_once)
    driver.round()
    with service.db.read() as session:
        states_of = {name: session.get_one(Sweep, name).state for name in ("sweep_a", SWEEP, "sweep_z")}
    assert states_of == dict.fromkeys(("sweep_a", "sweep_z"), SweepStatus.SUCCEEDED) | {SWEEP: SweepStatus.RUNNING}
