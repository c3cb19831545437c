"""Row 33: several API processes behind one address."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest

from service.keys.service import create_key
from service.shared.database.tables import Role
from service.shared.storage.home import Home
from tests.faults.postgres import free_port
from tests.faults.topology import KEY, Topology
from tests.faults.turns_proxy import TurnsProxy, take_turns
from tests.service.support import MODEL, rows

PAGE = {"x-adamss-page": "1", "sec-fetch-site": "same-origin"}  # as our own pages send them


@contextmanager
def two_processes(topology: Topology, **environment: str) -> Iterator[tuple[TurnsProxy, httpx.Client]]:
    """Two API processes, a proxy that takes turns over them, and a client that opens a connection for each request."""
    shared = {"ADAMSS_API_PROCESSES": "2", **environment}
    topology.api(**shared)
    port = free_port()
    topology.start_api(**shared, ADAMSS_PORT=str(port))
    topology.until(lambda: answers(port))
    with (
        take_turns([topology.settings.port, port]) as proxy,
        httpx.Client(base_url=proxy.url, limits=httpx.Limits(max_keepalive_connections=0), timeout=120.0) as client,
    ):
        yield proxy, client
        assert min(proxy.connections.values()) > 2, "both had their turns"


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2.0).is_success
    except httpx.TransportError:
        return False


def ids_of(client: httpx.Client, job_id: str, after: int, most: int | None = None) -> list[int]:
    """The sequence numbers that a stream sends before it ends, or before the client hangs up."""
    headers = {"last-event-id": str(after)} if after else {}
    with client.stream("GET", f"/jobs/{job_id}/stream", headers=headers) as stream:
        assert stream.status_code == 200
        found = (int(line[4:]) for line in stream.iter_lines() if line.startswith("id: "))
        return list(islice(found, most))


@pytest.mark.quick("embedded")
def test_row_33a_one_session_upload_and_stream_over_two_processes(topology: Topology) -> None:
    with two_processes(topology) as (_, client):
        topology.start_worker()
        signed_in = client.post("/signin", data={"key": KEY})
        assert signed_in.status_code == 303, signed_in.text
        for _ in range(4):
            assert client.get("/jobs").status_code == 200, "the cookie is good for both"
        uploaded = client.post("/datasets", headers=PAGE, files={"file": ("rows.csv", rows(60))})
        assert uploaded.status_code == 201, uploaded.text
        spec = topology.spec(steps=60) | {"dataset": {"train": uploaded.json()["id"]}}
        made = client.post("/jobs", headers=PAGE, json=spec)
        assert made.status_code == 201, made.text
        job_id = str(made.json()["id"])
        seen: list[int] = []
        ended = False
        while not ended:
            ended = topology.job(job_id).ended_at is not None
            seen += ids_of(client, job_id, seen[-1] if seen else 0, None if ended else 7)
        topology.check_succeeded(job_id, 60)
        assert seen == list(range(1, topology.job(job_id).last_seq + 1)), "each once, without a gap"


def test_row_33b_limits_and_metrics_add_up(topology: Topology) -> None:
    limit = 40
    with two_processes(topology, ADAMSS_REQUESTS_PER_MINUTE=str(limit)) as (_, client):
        client.headers["authorization"] = f"Bearer {KEY}"
        statuses = [client.get("/jobs").status_code for _ in range(limit + 10)]
        # A minute may have turned meanwhile, which lets the share of the old one through that has passed since.
        assert limit <= statuses.count(200) < limit + 10
        assert statuses[:limit] == [200] * limit, "a half of the limit for each process would end at 20"
        assert statuses[-1] == 429
        with topology.db.write() as session:
            client.headers["authorization"] = f"Bearer {create_key(session, 'scraper', role=Role.ADMIN).key}"
        numbers = [client.get("/metrics").text for _ in range(2)]
    counted = [re.findall(r'adamss_requests_total\{.*route="/jobs",status="200"\} (\S+)', one) for one in numbers]
    assert counted == [[str(float(statuses.count(200)))]] * 2, "each process tells the numbers of both"
    assert all("adamss_workers 0.0" in one for one in numbers)


@pytest.mark.core
def test_row_33c_a_new_model_and_predictions_over_two_processes(topology: Topology) -> None:
    files: Home = topology.settings.files
    shutil.copytree(files.model(MODEL), files.model("fresh"))
    with two_processes(topology) as (_, client):
        client.headers["authorization"] = f"Bearer {KEY}"
        spec = topology.spec(steps=20) | {"base_model": "fresh"}

        def plan(_: int) -> httpx.Response:
            return client.post("/jobs", params={"dry_run": "true"}, json=spec)

        with ThreadPoolExecutor(4) as pool:
            answers: list[Any] = list(pool.map(plan, range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
        topology.start_worker()
        job_id = str(client.post("/jobs", json=spec).json()["id"])
        topology.check_succeeded(job_id, 20)
        body = {"inputs": [{"text": "a good film"}]}
        predicted = [client.post(f"/jobs/{job_id}/predict", json=body) for _ in range(4)]
        assert [answer.status_code for answer in predicted] == [200] * 4, predicted[0].text
        assert len({str(answer.json()["data"]) for answer in predicted}) == 1
