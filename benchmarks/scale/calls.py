"""The calls that are measured: what people, programs, Prometheus and workers ask of a service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from time import thread_time

import httpx

from benchmarks.scale.cpu_clock import spent
from benchmarks.scale.filling import LONG_JOB, OLD_JOB, report
from benchmarks.scale.target import Target
from service.shared.jobs import states
from tests.service.support import rows
from worker.device_locks import open_devices
from worker.file_collector import FileCollector
from worker.sweeper import Sweeper

Call = Callable[[], tuple[float, float]]  # one measurement: milliseconds of processor time, and of waiting
ADDED = 100  # rows that a run reports between two looks
POINTS = 500


def calls(target: Target) -> dict[str, Call]:
    """Return each call by its name; a call may be made any number of times."""
    looks, deleted = count(1), count(1)
    submitted: list[str] = []

    def get(path: str) -> Call:
        return lambda: target.cost(lambda: target.client.get(path))

    def submit() -> httpx.Response:
        answer = target.client.post("/jobs", json=target.spec)
        submitted.append(answer.json()["id"])
        return answer

    def curve(options: str) -> Call:
        path = f"/jobs/{LONG_JOB}/metrics?max_points={POINTS}{options}"

        def look() -> tuple[float, float]:
            report(target.db, ADDED)
            return target.cost(lambda: target.client.get(path))

        target.client.get(path).raise_for_status()  # only the first look reads all rows
        return look

    def first_look() -> tuple[float, float]:
        points = POINTS + next(looks)  # another number of points is another curve
        return target.cost(lambda: target.client.get(f"/jobs/{LONG_JOB}/metrics?max_points={points}"))

    def delete_job() -> tuple[float, float]:
        job_id = f"job_delete{next(deleted):08}"
        return target.cost(lambda: target.client.delete(f"/jobs/{job_id}"))

    def delete_dataset() -> tuple[float, float]:
        files = {"file": ("rows.csv", rows())}
        made = target.client.post("/datasets", params={"new": "true"}, files=files).json()["id"]
        return target.cost(lambda: target.client.delete(f"/datasets/{made}"))

    return {
        "POST /jobs": lambda: target.cost(submit),
        "POST /jobs/{id}/cancel": lambda: target.cost(lambda: target.client.post(f"/jobs/{submitted.pop()}/cancel")),
        "GET /jobs": get("/jobs?limit=20"),
        "GET /jobs?name=": get("/jobs?limit=20&name=name 7"),
        "GET /jobs?status=failed": get("/jobs?limit=20&status=failed"),
        "GET /jobs/{id}": get(f"/jobs/{OLD_JOB}"),
        "metrics, a page of 100": get(f"/jobs/{OLD_JOB}/metrics?limit=100&after=5000"),
        "events, a page of 10": get("/jobs/job_filled00000200/events?limit=10"),
        "curve of a running job, first look": first_look,
        "curve of a running job": curve(""),
        "curve of a running job, memory_bytes": curve("&name=memory_bytes"),
        "curve of a running job, eval_accuracy": curve("&name=eval_accuracy"),
        "curve of an ended job": get(f"/jobs/{OLD_JOB}/metrics?max_points={POINTS}"),
        "DELETE /jobs/{id}": delete_job,
        "DELETE /datasets/{id}": delete_dataset,
        "GET /metrics (Prometheus)": get("/metrics"),
        **_of_a_worker(target),
    }


def _of_a_worker(target: Target) -> dict[str, Call]:
    """Return what a worker does by itself, measured in this process and in the database's server."""
    sweeper = Sweeper(
        target.settings,
        target.db,
        "benchmark",
        open_devices(target.settings, "benchmark"),
        lambda _: None,
        lambda: 1,
    )
    collector = FileCollector(target.db, target.settings.files, seconds=0.0, pass_seconds=60.0)

    def in_turn() -> None:
        with target.db.read() as session:
            states.next_in_turn(session, 5)

    def timed(work: Callable[[], None]) -> Call:
        def measure() -> tuple[float, float]:
            before, begin = spent(_server(target)), thread_time()
            work()
            own = 1000 * (thread_time() - begin)
            return own + spent(_server(target)) - before, own

        return measure

    return {
        "a worker's sweep": timed(sweeper.sweep),
        "the next job in turn, with a limit": timed(in_turn),
        "a pass of the file collector": timed(collector.round),
    }


def _server(target: Target) -> Iterator[int]:
    pids = target.pids()
    next(pids)  # the API
    yield from pids
