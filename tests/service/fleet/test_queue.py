"""The queue: places, why jobs wait in words, and expected starts; over HTTP, the client and the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from service.cli import app as cli
from service.client import Client
from service.jobs import waiting_places
from service.keys.service import create_key
from service.projects.service import find_project, set_quotas
from service.shared.database.tables import Job, Role
from service.shared.jobs import device_rows, states
from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.fleet_rule import FleetWorker, QueuedJob, Share
from service.shared.jobs.queue_forecast import Outlook, claim_sequence, expected_starts
from service.shared.jobs.standing import EPOCH
from service.shared.jobs.states import Needs
from service.shared.jobs.wait_reasons import Shortages, why_waiting
from tests.service.fleet.test_workers import KNOWN, add
from tests.service.support import Service

GB = 10**9


def worker(*holders: str | None, kind: str = "h100", slots: int = 8, name: str = "w") -> FleetWorker:
    devices = [DeviceState(f"cuda:{n}", f"{name}/{n}", kind, 80 * GB, 80 * GB, job) for n, job in enumerate(holders)]
    return FleetWorker(name, tuple(devices), slots)


TWO = QueuedJob("job_1", "proj", needs=Needs(2, "h100"))


@pytest.mark.parametrize(
    ("job", "share", "workers", "place", "reason"),
    [
        (TWO, Share(), [worker("job_2", None)], 1, "needs 2 devices of kind h100: 1 free on one worker"),
        (TWO, Share(), [worker(None, kind="a10")], 1, "needs 2 devices of kind h100: no worker has any"),
        (TWO, Share(), [worker(None)], 1, "needs 2 devices of kind h100: no worker has more than 1"),
        (TWO, Share(), [], 1, "no worker takes jobs"),
        (TWO, Share(), [worker(None, None, slots=0)], 1, "needs 2 devices of kind h100: 0 free on one worker"),
        (TWO, Share(), [worker(None, None)], 1, "a worker is about to take it"),
        (TWO, Share(), [worker(None, None)], 3, "2 jobs are before it"),
        (
            TWO,
            Share(running_jobs=4, jobs=4),
            [worker("job_2", None)],
            1,
            "needs 2 devices of kind h100: 1 free on one worker; project at its limit of 4 running jobs",
        ),
        (
            TWO,
            Share(running_devices=7, devices=8),
            [worker(None, None)],
            1,
            "project at its limit of 8 devices: 7 in use",
        ),
        (
            TWO,
            Share(used_seconds=7_200, seconds=7_200),
            [worker(None, None)],
            1,
            "project has used its 2 device hours of this month; the next begin on 2026-12-01",
        ),
        (
            QueuedJob("job_1", "proj", needs=Needs(1, None, 90 * GB)),
            Share(),
            [worker(None)],
            1,
            "needs 1 device with 90 GB: no worker has any",
        ),
    ],
)
def test_reasons_in_words(job: QueuedJob, share: Share, workers: list[FleetWorker], place: int, reason: str) -> None:
    assert why_waiting(job, share, Shortages(workers), place, "2026-12-01") == reason


def test_forecast_plays_the_queue_forward() -> None:
    """One device is free in 100 s. Project a has used more, so that b's job is first; then they alternate by weight."""
    jobs = [QueuedJob(f"a{n}", "a", queued_at=float(n)) for n in range(2)] + [QueuedJob("b0", "b", queued_at=9.0)]
    shares = {"a": Share(standing=1.0), "b": Share()}
    outlook = Outlook({"b0": 50.0}, {"job_2": 100.0}, usual=10.0, spread=(0.5, 3.0))
    sequence = claim_sequence(jobs, shares, outlook, EPOCH)
    assert [job.id for job in sequence] == ["b0", "a0", "a1"]
    starts = expected_starts(sequence, shares, [worker("job_2")], outlook)
    assert [starts[name].seconds for name in ("b0", "a0", "a1")] == [100.0, 150.0, 160.0]
    assert (starts["a0"].earliest, starts["a0"].latest) == (75.0, 450.0)
    assert expected_starts(sequence, shares, [worker("job_2")], Outlook({}, {})) == {}, "nothing is known"
    limited = {"a": Share(running_jobs=1, jobs=1), "b": Share(jobs=0)}
    starts = expected_starts(sequence, limited, [worker(None, None)], outlook)
    assert [starts[name].seconds for name in ("a0", "a1")] == [0.0, 10.0]
    assert "b0" not in starts


def test_waiting_jobs_have_a_place_a_reason_and_a_start(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service = any_service
    monkeypatch.setattr(waiting_places, "RESTS", 0)
    add(service, "one", "a-host", resources=KNOWN | {"slots": 1})
    device = DeviceState("cuda:0", "GPU-0", "h100", 80 * GB, 79 * GB)
    running, first, second = (service.submit(name=name)["id"] for name in ("runs", "first", "second"))
    with service.db.write() as session:
        device_rows.register(session, "one", [device])
        assert states.claim(session, running, "one", 60.0, devices=["GPU-0"])
        session.execute(update(Job).where(Job.id == running).values(eta_seconds=600.0))
        plan = dict(session.get_one(Job, first).resolved)
        plan["estimate"] = plan["estimate"] | {"seconds": 300.0}
        session.execute(update(Job).where(Job.id == first).values(resolved=plan))
        session.execute(update(Job).where(Job.id == second).values(rank=5))
    found = service.client.get(f"/jobs/{second}").json()["queue"]
    assert (found["place"], found["reason"]) == (2, "needs 1 device: 0 free")
    starts = [datetime.fromisoformat(found[name]) for name in ("earliest_start", "expected_start", "latest_start")]
    assert timedelta(seconds=870) < starts[1] - datetime.now(UTC) < timedelta(seconds=930)
    assert starts == sorted(starts)
    assert starts[0] < starts[1]
    listed = {job["id"]: job["queue"] for job in service.client.get("/jobs").json()["data"]}
    assert (listed[running], listed[first]["place"], listed[second]["place"]) == (None, 1, 2)
    queue = service.client.get("/queue").json()
    assert [(job["id"], job["place"]) for job in queue["data"]] == [(first, 1), (second, 2)]
    assert (queue["data"][1]["priority"], queue["waiting"]) == (-5, 2)
    others = {"Authorization": f"Bearer {service.key_for('others')}"}
    theirs = service.client.get("/queue", headers=others).json()
    assert (theirs["data"], theirs["waiting"]) == ([], 2)
    with service.db.write() as session:
        admin = create_key(session, "root", project="others", role=Role.ADMIN).key
        later = datetime.now(UTC) + timedelta(minutes=5)
        session.execute(update(Job).where(Job.id == first).values(not_before=later))
    third = service.submit(name="third")["id"]  # makes the forecast anew
    assert service.client.get(f"/jobs/{third}").json()["queue"]["place"] == 1
    delayed = service.client.get(f"/jobs/{first}").json()["queue"]
    assert (delayed["place"], delayed["reason"].endswith("UTC after a failed attempt")) == (None, True)
    shown = service.client.get("/queue", headers={"Authorization": f"Bearer {admin}"}).json()
    assert {job["id"] for job in shown["data"]} == {first, second, third}


def test_use_of_a_month(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service = any_service
    job = service.submit()["id"]
    with service.db.write() as session:
        claimed = states.claim(session, job, "one", 60.0)
        assert claimed is not None
        begun = claimed.metered_at
        assert begun is not None
        session.execute(update(Job).where(Job.id == job).values(metered_at=begun - timedelta(hours=2), devices=3))
    with service.db.write() as session:
        assert states.give_back(session, job, 1, charge=False)
        set_quotas(session, "default", {"device_hours": 8.0, "weight": 2.0})
        assert find_project(session, "default").standing > 0
    found = service.client.get("/usage").json()
    (row,) = found["data"]
    assert (row["project"], row["attempts"], row["cost"], found["currency"]) == ("default", 1, None, None)
    assert row["device_hours"] == pytest.approx(6.0, abs=0.1)
    assert found["project"]["device_hours"] == pytest.approx(6.0, abs=0.1)
    assert (found["project"]["max_device_hours"], found["project"]["weight"]) == (8.0, 2.0)
    assert service.client.get("/usage", params={"month": "2020-01"}).json()["data"] == []
    refused = service.client.get("/usage", params={"month": "2020-13"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "month")
    monkeypatch.setattr(service.settings, "device_hour_rate", 0.5)
    paid = service.client.get("/usage").json()
    assert (paid["data"][0]["cost"], paid["currency"]) == (pytest.approx(3.0, abs=0.1), "USD")
    metrics = service.client.get("/metrics").text
    assert 'adamss_device_seconds_total{owner="' in metrics


def test_commands(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = service.submit(name="waits")["id"]
    with service.db.write() as session:
        assert states.claim(session, service.submit(name="=runs")["id"], "one", 60.0)
    answers = {path: service.client.get(path).json() for path in ("/queue", "/usage")}
    monkeypatch.setattr(Client, "queue", lambda _: answers["/queue"])
    monkeypatch.setattr(Client, "usage", lambda _, month: answers["/usage"])
    runner = CliRunner()
    shown = runner.invoke(cli.app, ["queue"])
    assert shown.exit_code == 0, shown.output
    assert waiting in shown.stdout
    assert "no worker takes jobs" in shown.stdout
    csv = runner.invoke(cli.app, ["usage", "--csv"]).stdout.splitlines()
    assert csv[0] == "month,project,owner,device_hours,attempts"
    assert csv[1].split(",")[1] == "default"
    table = runner.invoke(cli.app, ["usage"])
    assert "default has weight 1: 1 running jobs" in table.output
