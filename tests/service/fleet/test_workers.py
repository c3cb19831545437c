"""Workers and what they run, as the API and the command line show them; hosts that are drained."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import workers as command
from service.client import Client
from service.shared.database.tables import Worker, now
from service.shared.jobs import device_rows, states
from service.shared.jobs.device_rows import DeviceState
from tests.service.support import Service, error_of

KNOWN = {"kind": "cpu", "memory_bytes": 8_000_000_000, "bf16": True, "slots": 2}


def add(service: Service, name: str, host: str, *, age: float = 0.0, resources: Any = KNOWN) -> None:
    moment = now() - timedelta(seconds=age)
    with service.db.write() as session:
        row = Worker(id=name, host=host, pid=7, devices=["cpu"], resources=resources, spec_version=9)
        row.started_at = row.seen_at = moment
        session.add(row)


def test_live_workers_are_listed_with_their_jobs(any_service: Service) -> None:
    service = any_service
    add(service, "one", "a-host")
    add(service, "old", "z-host", resources=None)
    add(service, "gone", "b-host", age=1_000)
    job, waiting = service.submit(name="mine")["id"], service.submit()["id"]
    with service.db.write() as session:
        assert states.claim(session, job, "one", 60.0)
    found = service.client.get("/workers").json()
    assert [worker["id"] for worker in found["data"]] == ["one", "old"]
    first, old = found["data"]
    assert {name: first[name] for name in KNOWN} == KNOWN
    assert first["jobs"] == [{"id": job, "name": "mine"}]
    assert (old["jobs"], old["kind"], old["slots"]) == ([], None, None)
    assert (found["queued"], found["drained"]) == (1, [])
    assert waiting != job
    others = {"Authorization": f"Bearer {service.key_for('others')}"}
    seen = service.client.get("/workers", headers=others).json()
    assert seen["data"][0]["jobs"] == [{"id": None, "name": None}]
    assert seen["queued"] == 0


def test_devices_are_listed_with_their_jobs(any_service: Service) -> None:
    service = any_service
    add(service, "one", "a-host", resources=KNOWN | {"slots": 8})
    job = service.submit(name="mine")["id"]
    found = [DeviceState(f"cuda:{n}", f"GPU-{n}", "h100", 80 * 10**9, 79 * 10**9) for n in range(2)]
    with service.db.write() as session:
        device_rows.register(session, "one", found)
        assert states.claim(session, job, "one", 60.0, devices=["GPU-1"])
    (worker,) = service.client.get("/workers").json()["data"]
    first, second = worker["devices"]
    assert (first["name"], first["kind"], first["memory_bytes"], first["free"]) == ("cuda:0", "h100", 80 * 10**9, True)
    assert (second["free"], second["job"], worker["free"]) == (False, {"id": job, "name": "mine"}, 1)
    with service.db.write() as session:
        device_rows.release(session, ["GPU-1"], job)
        device_rows.register(session, "one", found[:1])
    (worker,) = service.client.get("/workers").json()["data"]
    assert [(device["name"], device["job"]) for device in worker["devices"]] == [("cuda:0", None)]


def test_a_shared_device_names_its_jobs(any_service: Service) -> None:
    service = any_service
    add(service, "one", "a-host", resources=KNOWN | {"slots": 8})
    jobs = [service.submit(name=name)["id"] for name in ("first", "second")]
    device = DeviceState("cuda:0", "GPU-0", "h100", 80 * 10**9, 79 * 10**9, most_jobs=3)
    with service.db.write() as session:
        device_rows.register(session, "one", [device])
        for job in jobs:
            assert states.claim(session, job, "one", 60.0, devices=["GPU-0"], share=20 * 10**9)
    (worker,) = service.client.get("/workers").json()["data"]
    (shown,) = worker["devices"]
    assert (shown["free"], shown["job"], shown["most_jobs"], worker["free"]) == (False, None, 3, 1)
    assert sorted(job["name"] for job in shown["jobs"]) == ["first", "second"]
    assert shown["left_bytes"] == 79 * 10**9 - 2 * 20 * 10**9 - 3 * 10**9
    first, second = sorted(jobs)
    assert command._device(shown) == f"cuda:0 (h100, 80.0 GB, 2 of 3 jobs, {first}, {second}, 36.0 GB left)"


def test_what_a_job_needs_is_stored(any_service: Service) -> None:
    """An estimate counts where a live worker's device could hold it; memory that the job asks for always does."""
    service = any_service

    def needs(**resources: Any) -> Any:
        job = service.submit(resources=resources)["id"]
        with service.db.read() as session:
            return states.needs_of(session, job)

    assert needs() == states.Needs()
    add(service, "one", "a-host")
    with service.db.write() as session:
        device_rows.register(session, "one", [DeviceState("cpu", "one/cpu", "cpu", 10**12, 10**12)])
    assert needs().memory > 10**8
    asked = needs(devices=2, kind="h100", memory_gb=0.5)
    assert asked == states.Needs(2, "h100", 5 * 10**8)


def test_a_drained_host_has_no_job_in_turn(any_service: Service) -> None:
    service = any_service
    add(service, "one", "a-host")
    job = service.submit()["id"]

    def in_turn(host: str) -> str | None:
        with service.db.read() as session:
            return states.next_in_turn(session, None, host)

    found = service.client.post("/workers/drain", json={"host": "a-host"}).json()
    assert [(drain["host"], drain["move"]) for drain in found["drained"]] == [("a-host", False)]
    assert found["data"][0]["drained"]
    assert (in_turn("a-host"), in_turn("b-host")) == (None, job)
    with service.db.read() as session:
        assert not states.is_drained(session, "a-host", of_running_jobs=True)
    service.client.post("/workers/drain", json={"host": "a-host", "move": True})
    with service.db.read() as session:
        assert states.is_drained(session, "a-host", of_running_jobs=True)
    assert service.client.post("/workers/undrain", json={"host": "a-host"}).json()["drained"] == []
    assert in_turn("a-host") == job


def test_unknown_hosts_are_refused(service: Service) -> None:
    for call, code in (("drain", "host_not_found"), ("undrain", "host_not_drained")):
        response = service.client.post(f"/workers/{call}", json={"host": "nowhere"})
        assert response.status_code == 404
        assert (error_of(response.json())["code"], error_of(response.json())["param"]) == (code, "host")


def test_only_admins_drain(service: Service) -> None:
    add(service, "one", "a-host")
    others = {"Authorization": f"Bearer {service.key_for('others')}"}
    for call in ("drain", "undrain"):
        response = service.client.post(f"/workers/{call}", json={"host": "a-host"}, headers=others)
        assert response.status_code == 403


@pytest.fixture
def adamss(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Callable: arguments of `adamss workers` in; its exit code and what it prints out."""

    class Through(Client):
        def __init__(self) -> None:
            super().__init__("http://127.0.0.1:1", "key")

        def _send(self, method: str, path: str, **options: Any) -> Any:
            return service.client.request(method, path, json=options.get("json"))

    @contextmanager
    def connect() -> Any:
        with Through() as client:
            yield client

    monkeypatch.setattr(command, "connect", connect)

    def run(*arguments: str) -> tuple[str, str]:
        result = CliRunner().invoke(command.app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    return run


def test_the_command_lists_and_drains(service: Service, adamss: Any) -> None:
    add(service, "one", "a-host")
    job = service.submit()["id"]
    assert adamss()[0].split("\t")[:6] == ["a-host", "one", "cpu", "8.0 GB", "", "2"]
    assert "1 jobs wait" in adamss()[1]
    with service.db.write() as session:
        assert states.claim(session, job, "one", 60.0)
    assert adamss()[0].split("\t")[4:6] == [job, "1"]
    out, err = adamss("drain", "a-host", "--move")
    assert out.split("\t")[5] == "drained"
    assert "its jobs leave" in err
    assert adamss("undrain", "a-host")[1] == ""
