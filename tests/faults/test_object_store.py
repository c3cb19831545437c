"""Rows 40 and 41: a store of files that fails, and copies that are lost; and two hosts without a common file system."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.tables import JobStatus, StoredFile
from tests.faults.postgres import Postgres
from tests.faults.store_proxy import StoreProxy
from tests.faults.test_training import adapter
from tests.faults.topology import PATIENCE
from tests.faults.two_hosts import Host, TwoHosts
from tests.object_server import ObjectServer
from tests.worker.redis_server import RedisServer

STEPS = 600
DECOMPOSED = "cache/decompositions/"
FIELDS: dict[str, Any] = {"training": {"checkpoint_steps": 20}}


@pytest.fixture
def make(
    tmp_path: Path,
    own_postgres: Postgres,
    redis: RedisServer,
    object_server: ObjectServer,
    tiny_model: Path,
    tiny_facts: dict[str, Any],
) -> Iterator[Callable[..., TwoHosts]]:
    made: list[TwoHosts] = []

    def hosts(endpoint: str | None = None) -> TwoHosts:
        parts: dict[str, Any] = {"model": tiny_model, "facts": tiny_facts, "server": object_server}
        made.append(TwoHosts(tmp_path, postgres=own_postgres, redis=redis, endpoint=endpoint, **parts))
        return made[0]

    yield hosts
    for one in made:
        one.close()


@pytest.fixture
def proxy(object_server: ObjectServer) -> Iterator[StoreProxy]:
    with StoreProxy(object_server.endpoint) as proxy:
        yield proxy


def stored(host: Host, part: str) -> list[StoredFile]:
    with host.db.read() as session:
        rows = session.scalars(select(StoredFile).order_by(StoredFile.name))
        return [row for row in rows if part in row.name]


def predict(host: Host, job_id: str) -> Any:
    answer = host.http.post(f"/jobs/{job_id}/predict", json={"inputs": ["a good film"]})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_a_job_of_a_host_that_died_is_finished_by_another_one(make: Callable[..., TwoHosts]) -> None:
    hosts = make()
    a, b = hosts.a, hosts.b
    a.api()
    b.api()
    broken, whole = a.submit(STEPS, **FIELDS), a.submit(STEPS, **FIELDS)
    assert a.http.post(f"/jobs/{whole}/pause").is_success
    a.start_worker()
    with a.explained(broken):
        a.until(lambda: bool(stored(a, f"{broken}/checkpoints/")) and bool(stored(a, DECOMPOSED)))
    decomposed = [row.key for row in stored(a, DECOMPOSED)]
    assert a.job(broken).status == JobStatus.RUNNING
    a.die()
    b.start_worker()
    job = b.check_succeeded(broken, STEPS)
    assert (job.attempt, job.failures) == (2, 1)
    begun = [event.data["step"] for event in b.events(broken) if event.type == "training_started"]
    assert begun[0] == 0
    assert begun[1] >= 20
    assert b.http.post(f"/jobs/{whole}/resume").is_success
    b.check_succeeded(whole, STEPS)
    assert adapter(b, broken) == adapter(b, whole)
    assert f"fetched {DECOMPOSED}" in b.http.get(f"/jobs/{whole}/logs").json()["data"]
    assert [row.key for row in stored(b, DECOMPOSED)] == decomposed
    assert len(predict(b, broken)) == 1
    log = b.http.get(f"/jobs/{broken}/logs", params={"offset": 0, "limit": 1_000_000}).json()["data"]
    assert "--- attempt 2" in log
    downloaded = b.http.get(f"/jobs/{broken}/artifacts/adapter")
    assert downloaded.status_code == 200
    assert hosts.opened_elsewhere() == []
    assert b.http.delete(f"/jobs/{broken}").is_success
    assert stored(b, broken) == []


def test_row_40_store_away_while_training_and_publishing(make: Callable[..., TwoHosts], proxy: StoreProxy) -> None:
    host = make(proxy.url).a
    host.api()
    job_id = host.submit(STEPS, **FIELDS)
    host.start_worker()
    host.wait_step(job_id, 1)
    proxy.fail(503)
    with host.explained(job_id):
        host.until(lambda: "storage_unavailable" in host.event_types(job_id))
        host.wait_step(job_id, STEPS)  # from local files alone
    assert host.artifacts(job_id) == []
    assert stored(host, f"{job_id}.zip") == []
    proxy.heal()
    job = host.check_succeeded(job_id, STEPS)
    assert job.failures == 0
    host.until(lambda: bool(stored(host, f"{job_id}/checkpoints/")))
    assert predict(host, job_id)


@pytest.mark.parametrize("fault", ["slow", "cut", "expired", "full"])
def test_row_40_uploads_are_whole_or_refused_in_words(
    make: Callable[..., TwoHosts], proxy: StoreProxy, fault: str
) -> None:
    host = make(proxy.url).a
    host.api()
    before = len(stored(host, "datasets/"))
    getattr(proxy, fault)()
    answer = host.http.post("/datasets", files={"file": ("rows.csv", "text,label\n" + "good,1\nbad,0\n" * 40)})
    if fault == "slow":
        assert answer.status_code == 201, answer.text
    else:
        assert answer.status_code == 503, answer.text
        assert answer.json()["error"]["code"] == "storage_unavailable"
        assert len(stored(host, "datasets/")) == before
        assert host.http.get("/datasets").json()["data"] == []
    proxy.heal()
    assert host.dataset()


def test_row_40_a_job_waits_for_its_files_uncharged(make: Callable[..., TwoHosts], proxy: StoreProxy) -> None:
    hosts = make(proxy.url)
    a, b = hosts.a, hosts.b
    a.api()
    job_id = a.submit(20, **FIELDS)
    b.start_worker()  # before the store is away: it would wait to know whether it belongs to the database
    a.wait(job_id)
    later = a.submit(20, **FIELDS)
    assert a.wait(later).status == JobStatus.SUCCEEDED  # b has the data set by now
    proxy.fail(503)
    for path in b.settings.files.datasets.glob("ds_*"):
        path.unlink()
    waiting = a.submit(20, **FIELDS)
    with a.explained(waiting):
        a.until(lambda: a.job(waiting).attempt >= 1 and a.job(waiting).status == JobStatus.QUEUED)
    proxy.heal()
    job = a.wait(waiting)
    assert (job.status, job.failures) == (JobStatus.SUCCEEDED, 0)
    reasons = [event.data["reason"] for event in a.events(waiting) if event.type == "requeued"]
    assert {reason["code"] for reason in reasons} == {"storage_unavailable"}


@pytest.mark.parametrize("damage", ["evicted", "altered"])
def test_row_41_lost_copies_are_fetched_again(make: Callable[..., TwoHosts], damage: str) -> None:
    hosts = make()
    a, b = hosts.a, hosts.b
    a.api()
    worker = b.start_worker()
    first = a.submit(20, **FIELDS)
    assert a.wait(first, seconds=PATIENCE).status == JobStatus.SUCCEEDED
    (rows,) = b.settings.files.datasets.glob("ds_*.jsonl")
    right = rows.read_bytes()
    if damage == "evicted":
        shutil.rmtree(b.settings.files.cache)
        rows.unlink()
    else:
        rows.write_bytes(right.replace(b"good", b"evil"))
    again = a.submit(20, **FIELDS)
    assert a.wait(again).status == JobStatus.SUCCEEDED
    assert worker.is_alive
    assert rows.read_bytes() == right
    losses = [[row.loss for row in a.metrics(job_id) if row.kind == "train"] for job_id in (first, again)]
    assert losses[0] == losses[1]
