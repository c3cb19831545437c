"""The devices that a job asks for are held against those of the workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from adamss_core.spec import SPEC_VERSION
from service.shared.database.tables import Job, Worker, now
from service.shared.jobs import device_rows, states
from service.shared.jobs.device_rows import DeviceState
from service.shared.resources import Resources
from tests.service.support import Service, beside_few_rows

GIGABYTE = 10**9
MEGABYTE = 10**6


def register(service: Service, count: int = 2, *, kind: str = "a10", memory: int = 24 * GIGABYTE) -> None:
    """Add a live worker with devices of a kind."""
    worker = f"{kind}-{count}-{memory}"
    resources = Resources(kind="cpu" if kind == "cpu" else "cuda", memory_bytes=memory).model_dump()
    states_ = [DeviceState(f"{kind}:{place}", f"{worker}/{place}", kind, memory, memory) for place in range(count)]
    with service.db.write() as session:
        names = [state.name for state in states_]
        own = {"id": worker, "host": "h", "pid": 1, "devices": names, "resources": resources}
        session.add(Worker(**own, spec_version=SPEC_VERSION, started_at=now(), seen_at=now()))
        device_rows.register(session, worker, states_)


def forget_workers(service: Service) -> None:
    with service.db.write() as session:
        session.execute(delete(Worker))


def answer(service: Service, **changes: Any) -> dict[str, Any]:
    changes["training"] = {"max_length": 64, **changes.get("training", {})}
    found: dict[str, Any] = service.client.post("/jobs?dry_run=true", json=service.spec(**changes)).json()
    return found | {"warnings": beside_few_rows(found.get("warnings", []))}


def refuse_missing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.settings, "missing_devices", "refuse")


def test_more_devices_than_any_live_worker_has_is_a_warning(service: Service) -> None:
    """One that was there before is waited for; one that never was is worth another look."""
    register(service, 4)
    assert answer(service, resources={"devices": 4})["warnings"] == []
    forget_workers(service)
    register(service, 2)
    (warning,) = answer(service, resources={"devices": 4})["warnings"]
    assert "No live worker has 4 devices: the job waits" in warning
    (warning,) = answer(service, resources={"devices": 5})["warnings"]
    assert "No worker has ever had 5 devices (the most was 4)" in warning
    (warning,) = answer(service, resources={"devices": 1, "kind": "h100"})["warnings"]
    assert "No worker has ever had 1 device of kind h100 (the most was 0)" in warning
    (warning,) = answer(service, resources={"devices": 2, "memory_gb": 40})["warnings"]
    assert "2 devices with 40 GB each" in warning


def test_without_any_worker_the_job_waits(service: Service) -> None:
    assert answer(service)["warnings"] == []
    (warning,) = answer(service, resources={"devices": 2})["warnings"]
    assert "none has registered yet" in warning


def test_the_operator_may_refuse_what_no_worker_ever_had(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    register(service, 4)
    forget_workers(service)
    refuse_missing(service, monkeypatch)
    assert len(answer(service, resources={"devices": 4})["warnings"]) == 1  # it is waited for
    error = service.refused(resources={"devices": 5}, training={"max_length": 64})
    assert (error["code"], error["param"]) == ("no_such_devices", "resources.devices")
    assert "the most was 4" in error["message"]


def test_memory_is_that_of_each_device(service: Service) -> None:
    """Rows of a step are divided; processes on a CPU have all else each for itself."""
    register(service)
    one = answer(service, training={"batch_size": 32})["estimate"]
    two = answer(service, training={"batch_size": 32}, resources={"devices": 2})["estimate"]
    half = answer(service, training={"batch_size": 16})["estimate"]
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["memory_bytes"] == half["memory_bytes"] < one["memory_bytes"]
    assert two["least_memory_bytes"] == one["least_memory_bytes"] < half["memory_bytes"]
    accumulated = {"batch_size": 32, "gradient_accumulation_steps": 2}
    again = answer(service, training=accumulated, resources={"devices": 2})["estimate"]
    assert again["memory_bytes"] == one["memory_bytes"]  # half of 64 rows go through a device at once


def test_short_memory_names_the_number_of_devices_that_suffices(service: Service) -> None:
    register(service)
    need = answer(service, training={"batch_size": 32})["estimate"]
    forget_workers(service)
    register(service, memory=need["memory_bytes"] - 1)
    found = answer(service, training={"batch_size": 32})
    (warning,) = found["warnings"]
    assert found["estimate"]["enough_devices"] == 2
    assert "resources.devices of 2 or more would suffice" in warning
    assert answer(service, training={"batch_size": 32}, resources={"devices": 2})["warnings"] == []
    submitted = service.submit(training={"batch_size": 32, "max_length": 64})
    with service.db.read() as session:  # one row at a time is enough to begin
        assert states.needs_of(session, submitted["id"]) == states.Needs(1, None, need["least_memory_bytes"])


def test_what_cannot_fit_is_refused(service: Service) -> None:
    register(service)
    least = answer(service)["estimate"]["least_memory_bytes"]
    forget_workers(service)
    register(service, memory=least - 1)
    error = service.refused(training={"max_length": 64})
    assert (error["code"], error["param"]) == ("job_does_not_fit", "resources.devices")
    assert "also with one row at a time" in error["message"]
    # Whoever knows better says so.
    assert "estimate" in answer(service, resources={"memory_gb": (least - 1) / GIGABYTE})


def test_a_base_that_is_divided(service: Service) -> None:
    register(service)
    found = answer(service, resources={"devices": 2, "shard": True})
    assert (found["estimate"]["sharded"], found["spec"]["resources"]["shard"], found["warnings"]) == (True, True, [])
    copied = answer(service, resources={"devices": 2})
    assert (copied["estimate"]["sharded"], copied["spec"]["resources"]["shard"]) == (False, False)
    assert answer(service)["spec"]["resources"]["shard"] == "auto"  # a single device decides nothing
    error = service.refused(resources={"shard": True})
    assert error["param"] == "resources"


def test_a_quantised_base_is_copied_and_that_is_said(service: Service) -> None:
    register(service)
    quantised = {"quantization": "4bit"}
    warnings = answer(service, training=quantised, resources={"devices": 2})["warnings"]
    (copies,) = [warning for warning in warnings if "copy" in warning]
    assert copies.startswith("Each of the 2 devices holds a copy of the base: training.quantization is set")
    error = service.refused(training=quantised | {"max_length": 64}, resources={"devices": 2, "shard": True})
    assert error["param"] == "resources.shard"


def test_devices_without_a_row_are_a_warning(service: Service) -> None:
    register(service, 4)
    (warning,) = answer(service, training={"batch_size": 2}, resources={"devices": 4})["warnings"]
    assert "a step has 2 rows: 2 of the devices have nothing to do" in warning
    accumulated = {"batch_size": 2, "gradient_accumulation_steps": 2}
    assert answer(service, training=accumulated, resources={"devices": 4})["warnings"] == []


def test_a_kind_that_is_asked_for_decides_what_is_estimated(service: Service) -> None:
    register(service)
    assert answer(service)["estimate"]["device"] == "cuda"
    assert answer(service, resources={"kind": "cpu"})["estimate"]["device"] == "cpu"


def test_a_job_says_what_it_asks_for_and_runs_on(service: Service) -> None:
    register(service)
    job = service.submit(resources={"devices": 2}, training={"max_length": 64})
    assert (job["devices"], job["runs_on"]) == (2, [])
    keys = ["a10-2-24000000000/0", "a10-2-24000000000/1"]
    with service.db.write() as session:
        assert states.claim(session, job["id"], "a10-2-24000000000", 60.0, devices=keys)
    both = [{"name": "a10:0", "kind": "a10"}, {"name": "a10:1", "kind": "a10"}]
    assert service.client.get(f"/jobs/{job['id']}").json()["runs_on"] == both
    (listed,) = service.client.get("/jobs").json()["data"]
    assert (listed["devices"], listed["runs_on"]) == (2, both)
    with service.db.write() as session:
        session.get_one(Job, job["id"]).attempt += 1  # an older worker has claimed it since
    assert service.client.get(f"/jobs/{job['id']}").json()["runs_on"] == []


def test_a_worker_that_is_not_heard_from_does_not_count(service: Service) -> None:
    register(service, 4)
    with service.db.write() as session:
        (worker,) = session.query(Worker)
        worker.seen_at = now() - timedelta(hours=1)
    (warning,) = answer(service, resources={"devices": 4})["warnings"]
    assert "No live worker" in warning
