"""Readers of the soak, in a process of their own, so that what the soak does besides is not taken for the service's.

Each has a client of its own, as people and programs have: one pool of hundreds of connections is slow by itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import httpx

PAUSE = 2.0  # seconds between two looks of one reader


@dataclass
class Answers:
    """What was counted."""

    seconds: list[float] = field(default_factory=list)  # of each answer
    statuses: Counter[int] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)  # errors in the place of an answer


def read_all(url: str, key: str, count: int, over: Event, found: Queue[Answers]) -> None:
    """Reads until it is over, and then puts what was counted."""
    answers = Answers()
    asyncio.run(_read_together(url, key, count, over, answers))
    found.put(answers)


async def _read_together(url: str, key: str, count: int, over: Event, answers: Answers) -> None:
    transport: Any = httpx.AsyncHTTPTransport  # without one of our own each client would read certificates
    clients = [
        httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {key}"}, transport=transport(verify=False), timeout=30.0
        )
        for _ in range(count)
    ]
    try:
        await asyncio.gather(*(_read(client, over, answers) for client in clients))
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))


async def _read(client: httpx.AsyncClient, over: Event, answers: Answers) -> None:
    """The list, a job of it, and what is new in its metrics, at random."""
    await asyncio.sleep(random.uniform(0, PAUSE))
    seen: dict[str, int] = {}
    job_ids: list[str] = []
    while not over.is_set():
        job_id = random.choice(job_ids) if job_ids else ""
        job = f"/jobs/{job_id}"
        path = random.choice((job, f"{job}/metrics?after={seen.get(job_id, 0)}", "/jobs")) if job_ids else "/jobs"
        begin = time.monotonic()
        try:
            answer = await client.get(path)
        except httpx.TransportError as error:
            answers.missing[repr(error)] += 1
        else:
            answers.seconds.append(time.monotonic() - begin)
            answers.statuses[answer.status_code] += 1
            if answer.is_success and path == "/jobs":
                job_ids = [entry["id"] for entry in answer.json()["data"]]
            elif answer.is_success and "metrics" in path and (rows := answer.json()["data"]):
                seen[job_id] = rows[-1]["seq"]
        await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE)
