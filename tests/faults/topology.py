"""API and workers as real processes on one of the two set-ups, with times scaled down to a tenth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import SecretStr
from sqlalchemy import update

from service.base_models import repository as base_models
from service.base_models.service import folder_version
from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.tables import TERMINAL, Job, JobStatus, now
from service.shared.ids import new_id
from service.shared.jobs.queue import QUEUE, RUN_JOB, make_celery
from service.shared.settings import Settings
from tests.faults.compose import SECRETS, environment
from tests.faults.postgres import Postgres, free_port
from tests.service.support import MODEL, rows
from tests.worker.redis_server import RedisServer
from tests.worker.support import FAKE_CORE, Service, is_alive, process_state, wait_until

SetUp = Literal["embedded", "production"]
ROOT = Path(__file__).parents[2]
KEY = "adamss_key_of_the_fault_tests"
PATIENCE = float(os.environ.get("FAULTS_PATIENCE", "120"))  # seconds; the machine may be busy
TIMES: dict[str, Any] = {
    "heartbeat_seconds": 1.0,
    "lease_seconds": 6.0,
    "sweep_seconds": 1.0,
    "stall_seconds": 60.0,
    "shutdown_grace_seconds": 30.0,
    "requests_per_minute": 0,
}


def age(*paths: Path, days: float = 1.1) -> None:
    """Let files look as old as those that the file collector moves."""
    for path in paths:
        os.utime(path, (time.time() - days * 86_400,) * 2)


class Process:
    """A part of the service."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def freeze(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)
        wait_until(lambda: process_state(self.pid) == "T")

    def thaw(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        self._popen.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> int:
        return self._popen.wait(seconds)

    def stop(self) -> int:
        self.ask_to_stop()
        return self.wait()


class Topology(Service):
    """One service. Its tables and files are looked at directly, everything else goes over HTTP.

    Args:
        model: folder of a tiny model, with what its inspection found out (`facts`).
        fake: whether a stand-in takes the core's place in training processes.
        migrated: whether the database has the newest schema, and the model's facts, before the first process starts.
    """

    def __init__(
        self,
        home: Path,
        set_up: SetUp,
        *,
        model: Path,
        facts: dict[str, Any],
        postgres: Postgres | None = None,
        redis: RedisServer | None = None,
        fake: bool,
        migrated: bool = True,
    ) -> None:
        self.set_up, self.fake = set_up, fake
        self.postgres, self.redis = postgres, redis
        self._composed = self._as_composed(home)
        parts = {name.removeprefix("ADAMSS_").lower(): value for name, value in self._composed.items()}
        own = {"home": home, "host": "127.0.0.1", "port": free_port(), "url": None, "api_key": SecretStr(KEY)}
        self.settings = Settings(**{**parts, **own, **TIMES})
        home.mkdir(parents=True, exist_ok=True)
        shutil.copytree(model, self.settings.files.model(MODEL))
        self.db = Database(self.settings.resolved_database_url)
        self._facts = facts
        if migrated:
            upgrade(self.settings)
            self._know_model()
        self.http = httpx.Client(
            base_url=self.settings.resolved_url, headers={"authorization": f"Bearer {KEY}"}, timeout=60.0
        )
        self._started: list[Process] = []
        self.first: Process  # the worker that is about to suffer
        self._dataset: str | None = None

    def leave_out_dropout(self) -> None:
        """Of the base model: losses then do not depend on how many rows go through it at a time."""
        path = self.settings.files.model(MODEL) / "config.json"
        none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        path.write_text(json.dumps(json.loads(path.read_text()) | none))
        self._know_model()

    def _know_model(self) -> None:
        """Spares the API the inspection, which loads torch."""
        with self.db.write() as session:
            base_models.keep(session, MODEL, folder_version(self.settings.files.model(MODEL)), self._facts)

    def _as_composed(self, home: Path) -> dict[str, str]:
        """In production the environment of docker-compose.yml, with our addresses in the place of its own."""
        if self.postgres is None or self.redis is None:
            return {}
        self.postgres.empty()
        ours = {
            "@postgres:5432": f"@{self.postgres.address}",
            "@redis:6379": f"@127.0.0.1:{self.redis.port}",
            "/var/lib/adamss": str(home),
        }
        found = environment("worker-cpu", SECRETS)
        for theirs, own in ours.items():
            found = {name: value.replace(theirs, own) for name, value in found.items()}
        return found

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                process.thaw()
                process.kill()
        self.http.close()
        self.db.close()

    # Processes

    def api(self, **environment: str) -> Process:
        process = self.start_api(**environment)

        def answers() -> bool:
            assert process.is_alive, self.output("api")
            with suppress(httpx.TransportError):
                return self.http.get("/healthz", timeout=2.0).is_success
            return False

        wait_until(answers, PATIENCE)
        return process

    def start_api(self, **environment: str) -> Process:
        return self._start("api", [sys.executable, "-m", "service.cli", "api"], environment)

    def start_worker(self, **environment: str) -> Process:
        return self._start("worker", [sys.executable, "-m", "worker.main"], environment)

    def of_release(self, source: Path) -> dict[str, str]:
        """The environment in which a process runs another release's source."""
        parts = [str(source / "tests" / "worker" / "fake_core")] * self.fake + [str(source)]
        return {"PYTHONPATH": os.pathsep.join(parts)}

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
        plain["ADAMSS_LENGTH_SAMPLE"] = "0"
        path = environment.get("PYTHONPATH", self.python_path)
        with (self.settings.resolved_home / f"{name}.log").open("ab") as log:
            popen = subprocess.Popen(
                command,
                cwd=path.rpartition(os.pathsep)[2],  # the first place where `python -m` looks
                env={**plain, **self.environment, "PYTHONPATH": path, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = Process(popen)
        self._started.append(process)
        return process

    @property
    def python_path(self) -> str:
        return os.pathsep.join([str(FAKE_CORE)] * self.fake + [str(ROOT)])

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are told, as an operator would."""
        fields = self.settings.model_dump(exclude_defaults=True, mode="json") | {"api_key": KEY}
        plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        own = {f"ADAMSS_{name.upper()}": value for name, value in plain.items()}
        return self._composed | own | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}

    def output(self, name: str) -> str:
        path = self.settings.resolved_home / f"{name}.log"
        return path.read_text() if path.exists() else ""

    # Jobs

    def dataset(self) -> str:
        if self._dataset is None:
            answer = self.http.post("/datasets", files={"file": ("rows.csv", rows(80))})
            assert answer.status_code == 201, answer.text
            self._dataset = str(answer.json()["id"])
        return self._dataset

    def spec(self, steps: int = 40, pause: float = 0.02, **fields: Any) -> dict[str, Any]:
        """A job of so many steps; the stand-in reads its name, the core everything else."""
        training = {
            "max_steps": steps,
            "batch_size": 4,
            "logging_steps": 1,
            "checkpoint_steps": 10,
            "eval_steps": steps,
            "precision": "fp32",
            "learning_rate": 0.01,
        }
        return {
            "name": f"steps={steps} pause={pause}",
            "base_model": MODEL,
            "dataset": {"train": self.dataset()},
            "adamss": {"r": 12, "num_subspaces": 4, "target_modules": ["query", "value"], **fields.pop("adamss", {})},
            "training": training | fields.pop("training", {}),
            "artifacts": ["adapter"],
            **fields,
        }

    def submit(self, steps: int = 40, pause: float = 0.02, *, key: str | None = None, **fields: Any) -> str:
        headers = {} if key is None else {"idempotency-key": key}
        answer = self.http.post("/jobs", json=self.spec(steps, pause, **fields), headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def copies(self, job_id: str, count: int) -> list[str]:
        """More rows with the same plan, without going through the API."""
        with self.db.write() as session:
            job = session.get_one(Job, job_id)
            fields = {column.key: getattr(job, column.key) for column in Job.__table__.columns}
            made = [new_id("job") for _ in range(count)]
            session.add_all(Job(**fields | {"id": copy}) for copy in made)
        return made

    def mark_running(self, job_ids: list[str]) -> None:
        """As if a worker had claimed them."""
        with self.db.write() as session:
            claimed = {"status": JobStatus.RUNNING, "attempt": 1, "lease_until": now() + timedelta(hours=1)}
            session.execute(update(Job).where(Job.id.in_(job_ids)).values(**claimed, worker="test"))

    def wait(self, job_id: str, *statuses: JobStatus, seconds: float = PATIENCE) -> Job:
        """Until the job is in one of these states; by default until it has ended."""
        wanted = statuses or TERMINAL
        with self.explained(job_id):
            wait_until(lambda: self.job(job_id).status in wanted, seconds)
        return self.job(job_id)

    def wait_step(self, job_id: str, step: int) -> None:
        with self.explained(job_id):
            wait_until(lambda: self.job(job_id).step >= step, PATIENCE)

    def wait_attempt(self, job_id: str, attempt: int) -> None:
        with self.explained(job_id):
            wait_until(lambda: self.job(job_id).attempt >= attempt, PATIENCE)

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        wait_until(holds, seconds)

    def pid_of_training(self, job_id: str) -> int:
        """Of a training process that is alive, once it is there."""
        lock = self.settings.files.job(job_id).lock
        with self.explained(job_id):
            wait_until(lambda: lock.exists() and lock.read_text() != "" and is_alive(int(lock.read_text())), PATIENCE)
        return int(lock.read_text())

    def last_step(self, job_id: str, attempt: int) -> int:
        """That an attempt has reported; 0 where there is none."""
        return max((row.step for row in self.metrics(job_id) if row.attempt == attempt), default=0)

    def event_types(self, job_id: str) -> list[str]:
        return [event.type for event in self.events(job_id)]

    def send_hint(self, job_id: str, times: int = 1) -> None:
        with make_celery(self.settings) as app:
            for _ in range(times):
                app.send_task(RUN_JOB, args=[job_id], queue=QUEUE)

    @contextmanager
    def explained(self, job_id: str) -> Iterator[None]:
        """Where what is awaited does not come, the failure tells what there is."""
        try:
            yield
        except AssertionError as error:
            job = self.job(job_id)
            told = [f"{job.status} attempt {job.attempt} failures {job.failures} step {job.step} {job.error}"]
            told += [f"{event.type}: {event.message} {event.data}" for event in self.events(job_id)]
            told += [self.output("worker")[-4_000:]]
            with suppress(OSError):
                told.append(self.log(job_id)[-3_000:])
            raise AssertionError("\n".join([str(error), *told])) from error

    # Invariants

    def check_succeeded(self, job_id: str, steps: int) -> Job:
        """L, X and A of a job that was to succeed; every step is there once."""
        job = self.wait(job_id)
        with self.explained(job_id):
            assert job.status == JobStatus.SUCCEEDED
            assert self.event_types(job_id).count("succeeded") == 1
            self.check_artifacts(job_id)
            trained = [row.step for row in self.metrics(job_id) if row.kind == "train"]
            assert sorted(trained) == list(range(1, steps + 1))
        return job

    def check_artifacts(self, job_id: str) -> None:
        """The files that are there are the ones that are registered, with their hashes."""
        registered = self.check_whole(job_id)
        folder = self.settings.files.job_artifacts(job_id)
        # Files that an earlier attempt registered are removed right after the commit that replaces them.
        wait_until(lambda: {path.name for path in folder.glob("*.zip")} == registered, PATIENCE)

    def check_whole(self, job_id: str) -> set[str]:
        """Each registered artifact is a file with its hash; returns the names of the files."""
        registered = {row.path: row.sha256 for row in self.artifacts(job_id)}
        assert registered
        for path, digest in registered.items():
            content = (self.settings.resolved_home / path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
        return {Path(path).name for path in registered}

    def check_nothing_published(self, job_id: str) -> None:
        assert self.artifacts(job_id) == []
        listed = self.http.get(f"/jobs/{job_id}/artifacts")
        assert listed.json()["data"] == []
