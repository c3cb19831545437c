"""A service in a temporary folder with times scaled down, its jobs, and real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import func, select

from adamss_core.spec import JobSpec
from service.shared.database.engine import Database
from service.shared.database.tables import Artifact, Base, Checkpoint, Event, Job, JobStatus, MetricRow, Project, now
from service.shared.ids import new_id
from service.shared.settings import Settings
from service.shared.storage.pairing import pair
from tests.databases import make_database

FAKE_CORE = Path(__file__).with_name("fake_core")
DATASET = "ds_aaaaaaaaaaaaaaaaaaaa"
PROJECT = "proj_test"
PATIENCE = 60.0  # seconds after which a test fails; a busy machine takes a third of it


def scaled_settings(home: Path, **fields: Any) -> Settings:
    """A lease of three seconds instead of a minute, and the rest in proportion."""
    times = {
        "heartbeat_seconds": 0.5,
        "lease_seconds": 3.0,
        "sweep_seconds": 0.5,
        "stall_seconds": 30.0,
        "shutdown_grace_seconds": 20.0,
    }
    return Settings(**{"home": home, **times, **fields})


class Service:
    """Database and home folder; `fake` puts a stand-in for the core into training processes."""

    def __init__(self, settings: Settings, *, fake: bool = True) -> None:
        self.settings, self.fake = settings, fake
        settings.resolved_home.mkdir(parents=True, exist_ok=True)
        self.db = Database(settings.resolved_database_url)
        make_database(settings)
        pair(settings, self.db)
        with self.db.write() as session:
            session.add(Project(id=PROJECT, name="test", created_at=now()))

    def add_project(self, name: str) -> str:
        with self.db.write() as session:
            session.add(Project(id=f"proj_{name}", name=name, created_at=now()))
        return f"proj_{name}"

    def add_job(self, name: str = "steps=20", *, retries: int = 3, project: str = PROJECT, **fields: Any) -> str:
        job_id = new_id("job")
        spec = {"name": name, "base_model": "tiny", "dataset": {"train": DATASET}, "retries": retries, **fields}
        resolved = JobSpec.model_validate(spec).model_dump(mode="json")
        with self.db.write() as session:
            moment = now()
            job = Job(id=job_id, project_id=project, name=name, status=JobStatus.QUEUED, spec=spec)
            job.resolved = {"spec": resolved}
            job.created_at = job.queued_at = moment
            job.retries, job.total_steps = retries, 20
            session.add(job)
        return job_id

    def job(self, job_id: str) -> Job:
        with self.db.read() as session:
            return session.get_one(Job, job_id)

    def set_status(self, job_id: str, status: JobStatus) -> None:
        with self.db.write() as session:
            session.get_one(Job, job_id).status = status

    def metrics(self, job_id: str) -> list[MetricRow]:
        with self.db.read() as session:
            return list(session.scalars(select(MetricRow).where(MetricRow.job_id == job_id).order_by(MetricRow.seq)))

    def events(self, job_id: str) -> list[Event]:
        with self.db.read() as session:
            return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq)))

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        with self.db.read() as session:
            return list(
                session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step))
            )

    def artifacts(self, job_id: str) -> list[Artifact]:
        with self.db.read() as session:
            return list(session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))

    def count(self, table: type[Base]) -> int:
        with self.db.read() as session:
            return session.execute(select(func.count()).select_from(table)).scalar_one()

    def trainer_pid(self, job_id: str) -> int:
        """Of the training process that holds the job's folder."""
        lock = self.settings.files.job(job_id).lock
        wait_until(lambda: lock.exists() and lock.read_text() != "")
        return int(lock.read_text())

    def freeze(self, *pids: int) -> None:
        """Stops processes while none of them holds SQLite's lock, with which in hand one would block everybody."""
        with self.db.write() as session:
            session.connection()  # begins the transaction
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: all(process_state(pid) == "T" for pid in pids))

    def log(self, job_id: str) -> str:
        return (self.settings.files.job(job_id).log).read_text()

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A real worker process. It is killed at the end, after a test that needs it to stop has stopped it."""
        fields = self.settings.model_dump(exclude_none=True, mode="json")
        own = {f"ADAMSS_{name.upper()}": str(value) for name, value in fields.items() if not isinstance(value, list)}
        paths = [str(Path(__file__).parents[2]), *([str(FAKE_CORE)] if self.fake else [])]
        path = os.pathsep.join(reversed(paths))
        log = self.settings.resolved_home / "worker.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.main"],
                env={**os.environ, "PYTHONPATH": path, **own, **environment},
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Polls, as what is awaited happens in another process."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "what was waited for did not happen"
        sleep(0.02)


def wait_for(service: Service, job_id: str, *statuses: JobStatus, seconds: float = PATIENCE) -> Job:
    wait_until(lambda: service.job(job_id).status in statuses, seconds)
    return service.job(job_id)


def process_state(pid: int) -> str:
    """One letter, as in /proc; X where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def is_alive(pid: int) -> bool:
    return process_state(pid) not in "ZX"


def stop(process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)
