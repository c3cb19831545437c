"""What a real claim costs on PostgreSQL with many jobs waiting, alone and with many workers at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from sqlalchemy import insert, text

from benchmarks.report import Limit, Section
from benchmarks.scale.cpu_clock import children, spent
from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.tables import Job, JobStatus, Project, now
from service.shared.jobs import kept_places, states
from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.kept_places import Places
from service.shared.settings import Settings
from tests.faults.compose import SECRETS
from tests.faults.postgres import Postgres

ALONE, EACH = 200, 8  # claims of one worker, and of each of many
CHUNK = 5_000


def claim_costs(waiting: int, projects: int, claiming: int) -> Section:
    """Measure claims on a server of its own.

    Args:
        waiting: jobs that wait, of `projects` projects.
        claiming: workers that claim at once, each in a thread with a connection of its own.
    """
    server = Postgres()
    url = f"postgresql+psycopg://adamss:{SECRETS['POSTGRES_PASSWORD']}@{server.address}/adamss"
    db = Database(url, claiming + 5)
    try:
        with TemporaryDirectory() as home:
            upgrade(Settings(home=Path(home), database_url=url))
        _fill(db, waiting, projects)
        for number in range(20):  # connections, plans and caches
            _claim(db, f"warm-{number}")
        before, begin = spent(iter(children(server.pids()[0]))), time.thread_time()
        alone = [_claim(db, f"alone-{number}") for number in range(ALONE)]
        client = 1000 * (time.thread_time() - begin) / ALONE
        database = (spent(iter(children(server.pids()[0]))) - before) / ALONE
        together = _together(db, claiming)
    finally:
        db.engine.dispose()
        server.close()
    section = Section(
        f"A claim with {waiting:,} jobs of {projects} projects waiting on PostgreSQL, milliseconds",
        ["", "median", "p99", "CPU of worker", "CPU of server"],
        notes=[f"{claiming} claiming at once are threads of one process, whose lock they share."],
    )
    section.rows.append(["alone", median(alone), _p99(alone), client, database])
    section.rows.append([f"{claiming} at once", median(together), _p99(together), "", ""])
    section.limits.append(Limit("CPU of a claim, worker and server", client + database, 5.0))
    section.limits.append(Limit(f"p99 with {claiming} at once", _p99(together), 20.0))
    return section


def _fill(db: Database, waiting: int, projects: int) -> None:
    rng, moment = Random(0), now()
    names = [f"proj_{number}" for number in range(projects)]
    with db.write() as session:
        fields = {"created_at": moment, "weight": 1.0}
        rows = [{"id": name, "name": name, "standing": rng.uniform(10.0, 20.0), **fields} for name in names]
        session.execute(insert(Project), rows)
    for first in range(0, waiting, CHUNK):
        rows = [
            {
                "id": f"job_{number}",
                "project_id": rng.choice(names),
                "name": "job",
                "status": JobStatus.QUEUED,
                "spec": {},
                "resolved": {},
                "created_at": moment,
                "queued_at": moment,
                "retries": 3,
                "attempt": 0,
                "failures": 0,
                "step": 0,
                "epoch": 0.0,
                "last_seq": 0,
                "total_steps": 1,
                "rank": rng.choice([0, 0, 0, 10]),
                "devices": rng.choice([1, 1, 1, 2, 4]),
            }
            for number in range(first, min(first + CHUNK, waiting))
        ]
        with db.write() as session:
            session.execute(insert(Job), rows)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _claim(db: Database, worker: str) -> float:
    """Claim a job as a runner does, a look before the transaction included; return the milliseconds of one that got
    one."""
    places = Places(worker, [DeviceState("cuda:0", f"{worker}/0", "h100", None, None)])
    while True:
        begin = time.perf_counter()
        with db.read() as session:
            fit = kept_places.fits_now(session, places)
            found = states.next_in_turn(session, None, worker, fit)
        assert found is not None
        with db.write() as session:
            job_id = states.next_in_turn(session, fit=fit, lock_as=found)
            claimed = job_id and states.claim(session, job_id, worker, 60.0)
        if claimed:
            return 1000 * (time.perf_counter() - begin)


def _together(db: Database, claiming: int) -> list[float]:
    def work(number: int) -> list[float]:
        return [_claim(db, f"together-{number}") for _ in range(EACH)]

    with ThreadPoolExecutor(claiming) as pool:
        return [took for times in pool.map(work, range(claiming)) for took in times]


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[-1]
