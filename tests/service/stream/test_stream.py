"""The stream of a job: nothing is lost or sent twice, and polling tells the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from jsonschema_rs import validator_for
from sqlalchemy import event

from service.stream import feed
from tests.service.support import Service, error_of, finish, report_map, report_metrics, run_job

pytestmark = pytest.mark.slow

WATCHERS = 200
TIMEOUT = httpx.Timeout(120.0)


@dataclass(frozen=True)
class Sent:
    """One server-sent event."""

    event: str
    seq: int | None
    data: Any


def connect(service: Service) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    url = f"http://127.0.0.1:{service.settings.port}"
    headers = {"authorization": service.client.headers["authorization"]}
    return httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=TIMEOUT)


async def read(answer: httpx.Response) -> AsyncIterator[Sent]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
            continue
        if "event" in fields:
            yield Sent(fields["event"], int(fields["id"]) if "id" in fields else None, json.loads(fields["data"]))
        fields = {}


async def read_all(service: Service, path: str, headers: dict[str, str] | None = None, **query: Any) -> list[Sent]:
    """The stream of a job that ends, to its end."""
    async with connect(service) as client, client.stream("GET", path, headers=headers, params=query) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [sent async for sent in read(answer)]


def polled(service: Service, job_id: str, after: int = 0) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for kind, path in (("metrics", "metrics"), ("events", "events"), ("subspaces", "subspaces/history")):
        page = service.client.get(f"/jobs/{job_id}/{path}", params={"after": after, "limit": 100}).json()
        assert not page["has_more"]
        found += [(kind, row) for row in page["data"]]
    return sorted(found, key=lambda entry: entry[1]["seq"])


def make_history(service: Service) -> str:
    """A job that has ended, with rows of all kinds."""
    job_id = service.submit()["id"]
    run_job(service, job_id)
    report_map(service, job_id, 0, 4)
    report_metrics(service, job_id, [{"loss": 1.0 / step} for step in range(1, 8)])
    report_map(service, job_id, 5, 2)
    report_metrics(service, job_id, [{"eval_loss": 0.5}], kind="eval")
    finish(service, job_id, b"zip")
    return job_id


def test_the_stream_and_polling_agree_from_every_place(live: Service) -> None:
    job_id = make_history(live)
    path = f"/jobs/{job_id}/stream"
    whole = polled(live, job_id)
    numbers = [row["seq"] for _, row in whole]
    for after in [0, *numbers]:
        sent = asyncio.run(read_all(live, path, headers={"last-event-id": str(after)}))
        rows = [(entry.event, entry.data) for entry in sent if entry.seq is not None]
        assert rows == [(kind, row) for kind, row in whole if row["seq"] > after]
        assert [entry.seq for entry in sent if entry.seq] == [number for number in numbers if number > after]
        assert [entry.event for entry in sent[-2:]] == ["state", "end"]
        of_all_watchers = {"mine": False}
        assert sent[-2].data == live.client.get(f"/jobs/{job_id}").json() | of_all_watchers
    assert asyncio.run(read_all(live, path, after=numbers[3]))[0].seq == numbers[4]


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_every_event_is_what_the_document_says(live: Service) -> None:
    """Seen to fail: with the stream described as a string."""
    document = live.app.openapi()
    answer = document["paths"]["/jobs/{job_id}/stream"]["get"]["responses"]["200"]
    shapes = {
        shape["properties"]["event"]["const"]: shape
        for shape in answer["content"]["text/event-stream"]["schema"]["oneOf"]
    }
    sent = asyncio.run(read_all(live, f"/jobs/{make_history(live)}/stream"))
    assert {entry.event for entry in sent} == {"metrics", "events", "subspaces", "state", "end"}
    for entry in sent:
        shape = shapes[entry.event]
        content = shape["properties"]["data"]["contentSchema"]
        validator_for({**content, "components": document["components"]}).validate(entry.data)
        assert ("id" in shape["required"]) == (entry.seq is not None)


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_two_hundred_watchers_cost_one_query_stream(live: Service) -> None:
    """Each commit is read once, by the one poller, however many watch; keys are looked up now and then."""
    job_id = live.submit()["id"]
    run_job(live, job_id)
    asyncio.run(_watch_together(live, job_id))


async def _watch_together(live: Service, job_id: str) -> None:
    queries: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        queries.append(statement)

    async with connect(live) as client, AsyncExitStack() as stack:
        answers = []
        for _ in range(WATCHERS):
            answers.append(await stack.enter_async_context(client.stream("GET", f"/jobs/{job_id}/stream")))
        watchers = [read(answer) for answer in answers]
        for watcher in watchers:
            assert await until(watcher, "state") == ["events", "events"]  # queued, started
        event.listen(live.db.engine, "before_cursor_execute", count)
        for batch in range(1, 6):
            await asyncio.to_thread(report_metrics, live, job_id, [{"loss": 0.1}], "train", batch)
            for watcher in watchers:
                assert await until(watcher, "metrics") == []
        event.remove(live.db.engine, "before_cursor_execute", count)
    reads = [statement for statement in queries if "FROM metrics" in statement]
    assert len(reads) == 5
    assert sum("api_keys" in statement for statement in queries) < WATCHERS


async def until(watcher: AsyncIterator[Sent], name: str) -> list[str]:
    """The names of what comes before the next event of a name."""
    before: list[str] = []
    async for sent in watcher:
        if sent.event == name:
            return before
        before.append(sent.event)
    raise AssertionError(f"the stream ended before {name}")


def test_one_that_falls_behind_is_dropped_and_goes_on(live: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer holds less than is written while the watcher does not read; what was dropped is read from the
    database after it has connected again."""
    monkeypatch.setattr(feed, "BUFFER_BYTES", 20_000)
    job_id = live.submit()["id"]
    run_job(live, job_id)
    asyncio.run(_fall_behind(live, job_id))


async def _fall_behind(live: Service, job_id: str) -> None:
    # Nobody takes what is yielded to the slow one, as where a connection is full.
    streams = live.context.streams
    slow, quick = streams.watch(job_id, 0, 0), streams.watch(job_id, 0, 0)
    seen, shown = numbers_in(await anext(slow)), numbers_in(await anext(quick))
    for first in (1, 101, 201):
        await asyncio.to_thread(report_metrics, live, job_id, [{"loss": 0.1}] * 100, "train", first)
        wanted = len(shown) + 100
        while len(shown) < wanted:
            shown += numbers_in(await anext(quick))
    seen += [number async for chunk in slow for number in numbers_in(chunk)]
    assert len(seen) < len(shown)
    await asyncio.to_thread(finish, live, job_id, b"zip")
    resumed = streams.watch(job_id, seen[-1], 10**6)
    seen += [number async for chunk in resumed for number in numbers_in(chunk)]
    assert seen == [row["seq"] for _, row in polled_all(live, job_id)]


def polled_all(service: Service, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for kind in ("metrics", "events"):
        page = service.client.get(f"/jobs/{job_id}/{kind}", params={"limit": 10_000}).json()
        found += [(kind, row) for row in page["data"]]
    return sorted(found, key=lambda entry: entry[1]["seq"])


def numbers_in(chunk: bytes) -> list[int]:
    return [int(line[4:]) for line in chunk.decode().splitlines() if line.startswith("id: ")]


def test_another_projects_stream_is_not_there(live: Service) -> None:
    job_id = live.submit()["id"]
    key = live.key_for("other")
    answer = live.client.get(f"/jobs/{job_id}/stream", headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, error_of(answer.json())["code"]) == (404, "job_not_found")
    answer = live.client.get(f"/jobs/{job_id}/stream", headers={"last-event-id": "x"})
    assert (answer.status_code, error_of(answer.json())["param"]) == (422, "last-event-id")
