"""Rows 12 and 14 of the attacks, with a real worker: forged messages run nothing, secrets stay where they belong."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from service.shared.database.tables import JobStatus
from service.shared.ids import new_id
from service.shared.jobs.queue import QUEUE, RUN_JOB, Hints, make_celery
from tests.security import attacks
from tests.security.support import files_below
from tests.worker.redis_server import RedisServer
from tests.worker.support import Service, scaled_settings, wait_for, wait_until

CANARY = "canary-secret-7f3a91"
OPERATORS = {  # what the environment of a worker may hold that is no business of a training process
    "ADAMSS_API_KEY": CANARY,
    "ADAMSS_WEBHOOK_SECRET": "whsec_Y2FuYXJ5LXNlY3JldC0tLTdmM2E5MS0tLS0t",
    "PGPASSWORD": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "GITHUB_TOKEN": CANARY,
    "HF_TOKEN": CANARY,
    "WANDB_API_KEY": CANARY,
    "SOMETHING_NEW": CANARY,
}

UNKNOWN = new_id("job")
HEADERS: tuple[dict[str, Any], ...] = (  # of messages that name a job as they should
    {"stamps": 7},
    {"stamps": {"a": 7}, "stamped_headers": 7},
    {"stamped_headers": ["nowhere"]},
    {"eta": "2999-01-01T00:00:00"},
    {"eta": 7},
    {"expires": "never"},
    {"timelimit": 7},
    {"id": ["forged"]},
    {"compression": "bzip2"},
)
DEEP = b"[" * 200_000
ODD_JSON = (b"", b"{", b"[1, 2]", b'{"body": 1}', b"\x80\x04", DEEP, b'{"a":' * 200_000)
KOMBUS_TYPES = b'{"__type__": "decimal", "__value__": "x"}', b'{"__type__": "uuid", "__value__": {}}'


@pytest.fixture(params=["folder", "redis"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    if request.param == "folder":
        service = Service(scaled_settings(tmp_path / "home"))
        yield service
    else:
        server = RedisServer(tmp_path)
        service = Service(scaled_settings(tmp_path / "home", broker_url=server.url))
        yield service
        server.stop()
    service.db.close()


def forge(service: Service, canary: Path) -> None:
    """Messages of every kind but the right one, for the worker to find."""
    run = {"task": RUN_JOB, "id": "forged", "lang": "py", "argsrepr": "x", "kwargsrepr": "y"}
    shell = {"task": "os.system", "args": [f"touch {canary}"], "kwargs": {}, "options": {}}
    embed: dict[str, Any] = {"callbacks": [shell], "errbacks": [shell], "chain": [shell], "chord": None}
    bodies: list[tuple[Any, str, dict[str, str]]] = [
        (attacks.Bait(canary), "pickle", run),
        ([[attacks.Bait(canary)], {}, {}], "pickle", run),
        ([[f"touch {canary}"], {}, {}], "json", {**run, "task": "os.system"}),
        ([[f"touch {canary}"], {}, {}], "json", {**run, "task": "celery.backend_cleanup"}),
        ([["job_../../etc/passwd"], {}, embed], "json", run),
        ([["job_a\n{}"], {}, {}], "json", run),
        ([["a", "b"], {"job_id": "x"}, {}], "json", run),
        ([[{"job": 1}], {}, {}], "json", run),
        ("not a list", "json", run),
        *(
            ([[UNKNOWN], {}, embedded], "json", run)
            for embedded in ({"chain": 7}, {"chain": [shell]}, {"chord": [7]}, 7)
        ),
        *(([[UNKNOWN], {}, {}], "json", run | more) for more in HEADERS),
        ({"task": "os.system"}, "json", {}),
        ([[f"!!python/object/apply:os.system ['touch {canary}']"], {}, {}], "yaml", run),
    ]
    app = make_celery(service.settings)
    with app.connection_for_write() as connection:
        producer = connection.Producer()
        for body, serializer, headers in bodies:
            producer.publish(body, serializer=serializer, headers=headers, routing_key=QUEUE, declare=[_queue(app)])
    app.close()
    contents = [*ODD_JSON, *KOMBUS_TYPES, attacks.bait(canary), message(DEEP), message(b"[[1e999999]]")]
    if service.settings.broker_url.startswith("redis"):
        with Redis.from_url(service.settings.broker_url) as redis:
            redis.rpush(QUEUE, *contents)
    else:
        forge_files(service.settings.files.queue_messages, contents)
        forge_files(service.settings.files.queue_control, [])


def message(body: bytes) -> bytes:
    """A message as Celery writes it, with another body."""
    properties = {"body_encoding": "base64", "delivery_tag": "forged", "delivery_info": {}}
    whole = {"body": b64encode(body).decode(), "headers": {"task": RUN_JOB, "id": "forged"}, "properties": properties}
    return json.dumps(whole | {"content-type": "application/json", "content-encoding": "utf-8"}).encode()


def forge_files(folder: Path, contents: list[bytes]) -> None:
    """Files with the names of messages, or of kombu's bindings; folders, pipes and links among them."""
    ending = "msg" if contents else "exchange"
    for place, content in enumerate(contents):
        (folder / f"{place}.{QUEUE}.msg").write_bytes(content)
    name = f"{QUEUE}.{ending}"
    if not contents:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        return
    os.mkfifo(folder / f"00.{name}")
    (folder / f"01.{name}" / "full").mkdir(parents=True)
    (folder / f"02.{name}").symlink_to("/dev/zero")
    (folder / f"03.{name}").symlink_to(folder / "nowhere")
    (folder / f"04.{name}").write_bytes(b" " * 2**24)


def _queue(app: Any) -> Any:
    from kombu import Queue

    return Queue(QUEUE, routing_key=QUEUE)


def test_12_forged_messages(service: Service, tmp_path: Path) -> None:
    """Pickles, foreign tasks, callbacks and rubbish among the messages: nothing of it runs, each is dropped and logged,
    and the job that is there for real succeeds.

    Seen to fail: with "pickle" among `accept_content`; with messages delivered to Celery as they are.
    """
    canary = tmp_path / "canary"
    forge(service, canary)
    with service.worker() as worker:
        first = service.add_job("steps=3")
        wait_for(service, first, JobStatus.SUCCEEDED, seconds=120)
        log = service.settings.resolved_home / "worker.log"
        wait_until(lambda: log.read_text().count("names no job was dropped") >= 3, seconds=120)
        hints = Hints(service.settings)
        hints.send(last := service.add_job("steps=3"))
        wait_for(service, last, JobStatus.SUCCEEDED, seconds=120)
        hints.close()
        wait_until(lambda: waiting(service) == 0, seconds=120)
        assert worker.poll() is None
    assert not canary.exists()
    for line in log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def waiting(service: Service) -> int:
    """Number of messages that no worker has read."""
    if service.settings.broker_url.startswith("redis"):
        with Redis.from_url(service.settings.broker_url) as redis:
            return int(redis.llen(QUEUE))
    return len(list(service.settings.files.queue_messages.glob("*.msg")))


def test_12_jobs_run_though_no_message_is_ever_read(tmp_path: Path) -> None:
    """With a broker that never answers: the sweeper starts the jobs.

    Seen to fail: with a sweeper that sends messages.
    """
    service = Service(scaled_settings(tmp_path / "home", broker_url="redis://127.0.0.1:1/0"))
    with service.worker():
        for _ in range(2):
            wait_for(service, service.add_job("steps=3"), JobStatus.SUCCEEDED, seconds=60)
    service.db.close()


def test_14_secrets_of_the_worker(tmp_path: Path) -> None:
    """Canaries in the worker's environment and settings: the training process has none of them in its environment or
    its arguments, and no file of the home folder and no row of the database holds one. Nor had the fork server.

    Seen to fail: with all of the environment passed on by `for_libraries`, and with `HF_TOKEN` alone.
    """
    service = Service(scaled_settings(tmp_path / "home", api_key=SecretStr(CANARY)))
    job_id = service.add_job("steps=10000 print=environment")
    with service.worker(**OPERATORS, HF_HUB_VERBOSITY="error", ADAMSS_HOME=str(service.settings.resolved_home)):
        wait_until(lambda: service.job(job_id).step > 0, seconds=120)
        trainer = Path(f"/proc/{service.trainer_pid(job_id)}")
        (line,) = (line for line in service.log(job_id).splitlines() if line.startswith('{"started"'))
        for name, environment in json.loads(line).items():
            assert environment["HF_HUB_VERBOSITY"] == "error", name
            assert not set(OPERATORS.values()) & set(environment.values()), name
        for name in ("environ", "cmdline"):
            content = (trainer / name).read_bytes()
            for secret in OPERATORS.values():
                assert secret.encode() not in content, name
        service.set_status(job_id, JobStatus.CANCELLING)
        wait_for(service, job_id, JobStatus.CANCELLED, seconds=120)
    service.db.close()
    holders = [
        path
        for path in files_below(service.settings.resolved_home)
        if any(secret.encode() in path.read_bytes() for secret in OPERATORS.values())
    ]
    assert holders == []
