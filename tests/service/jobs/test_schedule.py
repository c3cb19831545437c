"""An ASA schedule left at "auto": planned when it is submitted, derived when it runs, shown as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adamss_core.spec import SCHEDULE_FIELDS
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from service.shared.database.tables import Job, JobStatus
from tests.service.support import Service, run_job
from worker.report_store import ReportStore
from worker.reporter import BufferedReporter
from worker.request import build_request

AUTO: dict[str, Any] = {"use_asa": True, "asa_target_subspaces": 10, **dict.fromkeys(SCHEDULE_FIELDS, "auto")}
TRAINING = {"max_length": 8, "over_length": "drop", "batch_size": 4, "epochs": 1, "precision": "fp32"}
PLANNED, MADE = 45, 18  # steps of 180 rows, and of the two fifths of them that have at most 8 tokens


def rows() -> str:
    """200 rows; of each label 60 % are long."""
    lines = [
        f"good film {'bad plot ' * (9 if number % 10 < 6 else 1)},label{number // 10 % 2}" for number in range(200)
    ]
    return "\n".join(["text,label", *lines]) + "\n"


def submit(service: Service, **changes: Any) -> dict[str, Any]:
    return service.submit(
        **{"dataset": {"train": service.upload(rows())["id"]}, "adamss": AUTO, "training": TRAINING, **changes}
    )


def train(service: Service, job_id: str) -> RunRequest:
    """What a training process does with the job."""
    attempt = run_job(service, job_id)
    with service.db.read() as session:
        asked = build_request(service.db, session.get_one(Job, job_id), service.settings)
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = ReportStore(service.db, job_id, attempt, service.settings.files.job(job_id), service.settings.files)
    reporter = BufferedReporter(store, lease_seconds=60.0, interval=0.05)
    try:
        run(asked, reporter)
    finally:
        assert reporter.close(30.0)
    return asked


def shown(service: Service, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = service.client.get(f"/jobs/{job_id}").json()
    return answer


def schedule_of(resolved: dict[str, Any]) -> tuple[int, ...]:
    return tuple(resolved["spec"]["adamss"][name] for name in SCHEDULE_FIELDS)


def test_a_run_that_drops_rows_reaches_its_target_and_shows_its_own_steps(service: Service) -> None:
    job = submit(service)
    plan = service.client.post("/jobs?dry_run=true", json=job["spec"]).json()
    assert plan == job["resolved"]
    assert (plan["estimate"]["steps"], plan["auto"]) == (PLANNED, list(SCHEDULE_FIELDS))
    assert schedule_of(plan) == (4, 22, 1)

    asked = train(service, job["id"])
    assert asked.spec.adamss.auto_fields == list(SCHEDULE_FIELDS)
    job = shown(service, job["id"])
    steps = job["progress"]["total_steps"]
    assert (job["progress"]["step"], steps) == (steps, job["resolved"]["estimate"]["steps"])
    assert abs(steps - MADE) <= 2
    init, final, interval = schedule_of(job["resolved"])
    assert (init, final, interval) == (round(0.1 * steps), round(0.5 * steps), 1)
    assert job["asa"] == {"total": 20, "active": 10, "target": 10}
    assert job["resolved"]["schedule"][-1] == {"step": final, "wanted": 10}
    subspaces = service.client.get(f"/jobs/{job['id']}/subspaces").json()
    assert subspaces["schedule"][-1] == {"step": final, "wanted": 10, "reached": 10}
    replay = service.client.get(f"/jobs/{job['id']}/subspaces/replay", params={"target": 10}).json()
    assert all(step["wanted"] == step["recorded"] for step in replay["steps"])
    assert replay["modules"] == subspaces["modules"]


def test_another_attempt_is_given_auto_again(service: Service, tmp_path: Path) -> None:
    job_id = submit(service)["id"]
    first = train(service, job_id)
    with service.db.write() as session:
        row = session.get_one(Job, job_id)
        row.status, row.lease_until = JobStatus.QUEUED, None
        again = build_request(service.db, row, service.settings)
    assert again == first


def test_a_number_that_the_user_gave_stays_and_is_refused_where_the_rows_cannot_reach_it(service: Service) -> None:
    job = submit(service, adamss=AUTO | {"final_warmup": 40})
    assert job["resolved"]["auto"] == ["init_warmup", "mask_interval"]
    with pytest.raises(Exception, match="final_warmup is 40") as caught:
        train(service, job["id"])
    assert getattr(caught.value, "code", None) == "schedule_unreachable"


def test_a_job_that_an_older_version_queued_runs_its_numbers(service: Service) -> None:
    job_id = submit(service, training=TRAINING | {"over_length": "truncate"})["id"]
    with service.db.write() as session:
        row = session.get_one(Job, job_id)
        row.resolved = {name: value for name, value in row.resolved.items() if name != "auto"}
    asked = train(service, job_id)
    assert asked.spec.adamss.auto_fields == []
    job = shown(service, job_id)
    assert (schedule_of(job["resolved"]), job["asa"]["active"]) == ((4, 22, 1), 10)


def test_the_exact_number_of_trained_parameters_replaces_its_bounds(service: Service) -> None:
    job = submit(service, adamss={"subspace_rank": 3, "use_dynamic_rank": True}, training=TRAINING | {"max_steps": 1})
    said = job["resolved"]["estimate"]
    assert "use_dynamic_rank" in said["range_reason"]
    train(service, job["id"])
    counted = shown(service, job["id"])["resolved"]["estimate"]
    exact = counted["trainable_parameters"]
    assert counted["least_trainable_parameters"] == exact == counted["adapter_parameters"] + counted["head_parameters"]
    assert counted["range_reason"] is None
    assert said["least_trainable_parameters"] <= exact < said["trainable_parameters"]
    events = service.client.get(f"/jobs/{job['id']}/events").json()["data"]
    (started,) = (event for event in events if event["type"] == "training_started")
    assert started["data"]["trainable_parameters"] == exact
    assert f"Training {exact:,} parameters" in started["message"]
    assert {name: value for name, value in counted.items() if name not in said} == {}


def test_without_asa_nothing_is_derived(service: Service) -> None:
    assert submit(service, adamss={"use_asa": False})["resolved"]["auto"] == []
