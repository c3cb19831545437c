"""The same worker on PostgreSQL and Redis, with a stand-in for the core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from service.shared.database.tables import JobStatus, Worker
from service.shared.jobs.queue import QUEUE, RUN_JOB, make_celery
from tests.worker.redis_server import RedisServer
from tests.worker.support import Service, is_alive, scaled_settings, stop, wait_for, wait_until


@pytest.fixture
def service(tmp_path: Path, postgres_url: str, redis: RedisServer) -> Iterator[Service]:
    service = Service(scaled_settings(tmp_path / "home", database_url=postgres_url, broker_url=redis.url))
    yield service
    service.db.close()


def send(service: Service, job_id: object) -> None:
    with make_celery(service.settings) as app:
        app.send_task(RUN_JOB, args=[job_id], queue=QUEUE)


def test_succeeds_is_stopped_and_is_killed(service: Service) -> None:
    first, second = service.add_job("steps=20"), service.add_job("steps=200 pause=0.02")
    for job_id in (first, second):
        send(service, job_id)
    with service.worker() as worker:
        job = wait_for(service, first, JobStatus.SUCCEEDED, JobStatus.FAILED)
        assert job.status == JobStatus.SUCCEEDED, job.error
        assert [row.step for row in service.metrics(first)] == list(range(1, 21))
        assert len(service.artifacts(first)) == 4
        wait_until(lambda: service.job(second).step > 0)
        assert stop(worker) == 0
    job = service.job(second)
    assert (job.status, job.attempt, job.failures) == (JobStatus.QUEUED, 1, 0)
    with service.worker() as worker:
        wait_until(lambda: service.job(second).attempt == 2)
        pid = service.trainer_pid(second)
        worker.kill()
        wait_until(lambda: not is_alive(pid), seconds=10)
    with service.worker():
        job = wait_for(service, second, JobStatus.SUCCEEDED)
    assert (job.attempt, job.failures) == (3, 1)
    steps = [row.step for row in service.metrics(second)]
    assert len(set(steps)) == len(steps)


def test_broker_that_is_lost_with_its_messages_and_one_that_brings_garbage(
    service: Service, redis: RedisServer
) -> None:
    with service.worker() as worker:
        wait_until(lambda: service.count(Worker) == 1)
        redis.stop()
        job_id = service.add_job("steps=3")
        redis.start()
        wait_for(service, job_id, JobStatus.SUCCEEDED)
        with Redis.from_url(redis.url) as client:
            for garbage in ("", "null", "{}", "not json", json.dumps({"properties": {}}), b"\xff"):
                client.lpush(QUEUE, garbage)
        send(service, "; rm -rf /")
        for _ in range(10):
            send(service, job_id)
        last = service.add_job("steps=3")
        send(service, last)
        wait_for(service, last, JobStatus.SUCCEEDED)
        assert worker.poll() is None
    assert [service.job(name).attempt for name in (job_id, last)] == [1, 1]
