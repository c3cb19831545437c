"""Rows 1 to 6: what happens between a client, the API and the broker."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from service.shared.database.tables import Job, JobStatus, Worker
from tests.faults.topology import Topology

SUBMIT_SECONDS = 0.3


@pytest.mark.quick("embedded")
def test_row_01_api_dies_after_commit_before_the_reply(topology: Topology) -> None:
    topology.api().stop()
    dying = topology.api(FAILPOINT="after_submit:kill")
    spec = topology.spec()
    with pytest.raises(httpx.TransportError):
        topology.http.post("/jobs", json=spec, headers={"idempotency-key": "once"})
    assert dying.wait() != 0
    assert topology.count(Job) == 1
    topology.api()
    again = topology.http.post("/jobs", json=spec, headers={"idempotency-key": "once"})
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert topology.count(Job) == 1
    topology.start_worker()
    topology.check_succeeded(again.json()["id"], steps=40)


@pytest.mark.quick("production")
def test_row_02_same_key_twenty_times_at_once(topology: Topology) -> None:
    topology.api()
    spec = topology.spec()

    def submit(_: int) -> httpx.Response:
        return topology.http.post("/jobs", json=spec, headers={"idempotency-key": "same"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(submit, range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert topology.count(Job) == 1
    other = topology.http.post("/jobs", json=spec | {"name": "other"}, headers={"idempotency-key": "same"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_row_03_broker_down_at_submit(topology: Topology) -> None:
    topology.api()
    topology.start_worker()
    topology.until(lambda: topology.count(Worker) == 1)
    topology.submit(key="warm")  # the first one of a process opens connections
    break_broker(topology)
    seconds, job_ids = submit_often(topology)
    assert min(seconds) < SUBMIT_SECONDS
    repair_broker(topology)
    for job_id in job_ids:
        topology.check_succeeded(job_id, steps=3)


def test_row_04_broker_accepts_and_never_responds(topology: Topology) -> None:
    topology.api()
    topology.start_worker()
    topology.until(lambda: topology.count(Worker) == 1)
    if topology.redis is None:
        # A folder neither accepts nor answers; what comes nearest is one that takes messages and loses them.
        lost_messages(topology)
        return
    topology.redis.freeze()
    seconds, job_ids = submit_often(topology)
    assert min(seconds) < SUBMIT_SECONDS
    begin = time.monotonic()
    assert topology.http.get(f"/jobs/{job_ids[0]}").is_success
    assert time.monotonic() - begin < 2
    topology.redis.thaw()
    for job_id in job_ids:
        topology.check_succeeded(job_id, steps=3)


def lost_messages(topology: Topology) -> None:
    job_ids = [topology.submit(3) for _ in range(3)]
    for path in topology.settings.files.queue_messages.glob("*"):
        path.unlink(missing_ok=True)
    for job_id in job_ids:
        topology.check_succeeded(job_id, steps=3)


def test_row_05_broker_flushed_or_restarted_empty(topology: Topology) -> None:
    topology.api()
    job_ids = [topology.submit(3) for _ in range(3)]
    if topology.redis is None:
        shutil.rmtree(topology.settings.files.queue)
        topology.settings.files.queue_messages.mkdir(parents=True, exist_ok=True)
    else:
        with Redis.from_url(topology.redis.url) as client:
            client.flushall()
    topology.start_worker()
    topology.check_succeeded(job_ids[0], steps=3)
    if topology.redis is not None:
        topology.redis.stop()
        job_ids.append(topology.submit(3))
        topology.redis.start()
    for job_id in job_ids:
        assert topology.check_succeeded(job_id, steps=3).attempt == 1


def test_row_06_same_message_ten_times(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(30)
    topology.send_hint(job_id, 10)
    workers = [topology.start_worker() for _ in range(2)]
    assert topology.check_succeeded(job_id, steps=30).attempt == 1
    last = topology.submit(3)  # by its end the messages before it were all taken
    topology.check_succeeded(last, steps=3)
    topology.until(lambda: topology.output("worker").count(f"nothing to do for {job_id}") >= 9)
    assert topology.job(job_id).attempt == 1
    assert all(worker.is_alive for worker in workers)


def submit_often(topology: Topology) -> tuple[list[float], list[str]]:
    """Seconds that each submit took, and the ids; on a busy machine single ones may be slow."""
    spec = topology.spec(3)
    seconds, job_ids = [], []
    for _ in range(3):
        begin = time.monotonic()
        answer = topology.http.post("/jobs", content=json.dumps(spec), headers={"content-type": "application/json"})
        seconds.append(time.monotonic() - begin)
        assert answer.status_code == 201, answer.text
        job_ids.append(answer.json()["id"])
    assert all(topology.job(job_id).status == JobStatus.QUEUED for job_id in job_ids)
    return seconds, job_ids


def break_broker(topology: Topology) -> None:
    if topology.redis is not None:
        topology.redis.stop()
        return
    messages = topology.settings.files.queue_messages
    messages.rename(messages.with_name("away"))
    messages.touch()  # nobody can write into a file as a folder, not even root


def repair_broker(topology: Topology) -> None:
    if topology.redis is not None:
        topology.redis.start()
        return
    broken = topology.settings.resolved_home / "queue" / "messages"  # asked for it, `files` would make a folder of it
    broken.unlink()
    broken.with_name("away").rename(broken)
