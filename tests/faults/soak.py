"""Row 28: random kills and stops for a time given, with many readers: `python -m tests.faults.soak 600`.

Training is a stand-in's, so that the machine's cores are the service's and its readers'. A job takes ten seconds: with
a job a second it would be the start of processes that is measured.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from os import kill
from pathlib import Path
from threading import Event, Thread

from service.base_models import inspection
from service.shared.database.tables import TERMINAL, Job, JobStatus
from tests.faults import compose
from tests.faults.postgres import Postgres
from tests.faults.readers import Answers, read_all
from tests.faults.topology import KEY, Process, SetUp, Topology
from tests.processes import FORKSERVER
from tests.service.support import build_model
from tests.worker.redis_server import RedisServer

POLLERS, WORKERS, WAITING = 200, 3, 6
STEPS, STEP_SECONDS = 100, 0.1
P99_SECONDS, DRIFT = 0.25, 0.10


@dataclass
class Numbers:
    """What was counted."""

    answers: Answers = field(default_factory=Answers)
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)  # bytes of the API, each second

    @property
    def p99(self) -> float:
        seconds = self.answers.seconds
        return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else 0.0

    @property
    def drift(self) -> float:
        """From the second quarter, when caches are warm, to the last."""
        quarter = len(self.memory) // 4
        if not quarter:
            return 0.0
        early = statistics.mean(self.memory[quarter : 2 * quarter])
        return statistics.mean(self.memory[-quarter:]) / early - 1.0


class Soak:
    """One service under fire."""

    def __init__(self, topology: Topology) -> None:
        self.topology, self.numbers = topology, Numbers()
        self.job_ids: list[str] = []
        self._over = Event()
        self._workers: list[Process] = []

    def run(self, seconds: float) -> None:
        api = self.topology.api()
        self._workers = [self.topology.start_worker() for _ in range(WORKERS)]
        self._feed()
        spawn = get_context("spawn")
        over, found = spawn.Event(), spawn.Queue()
        readers = spawn.Process(
            target=read_all, args=(self.topology.settings.resolved_url, KEY, POLLERS, over, found), daemon=True
        )
        readers.start()
        memory = Thread(target=self._watch_memory, args=(api.pid,))
        memory.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._harm()
            self._feed()
            self._over.wait(random.uniform(0.5, 2.5))
        self._over.set()
        over.set()
        self.numbers.answers = found.get(timeout=120)
        readers.join()
        memory.join()
        assert api.is_alive

    def settle(self) -> None:
        """Nothing is harmed any more: every job comes to its end."""
        for worker in self._workers:
            worker.thaw()
        for job_id in self.job_ids:
            self.topology.wait(job_id, seconds=600)

    def violations(self) -> list[str]:
        """What does not hold of L, X, F and A, and the limits."""
        found = []
        for job_id in self.job_ids:
            job = self.topology.job(job_id)
            if job.status not in TERMINAL:
                found.append(f"L: {job_id} is {job.status}")
            if job.status == JobStatus.SUCCEEDED:
                try:
                    self.topology.check_succeeded(job_id, STEPS)
                except AssertionError as error:
                    found.append(f"X, F or A: {job_id}: {error}")
            elif self.topology.artifacts(job_id):  # complete before the job ended otherwise
                try:
                    self.topology.check_whole(job_id)
                except AssertionError as error:
                    found.append(f"A: {job_id} is {job.status}: {error}")
        answers = self.numbers.answers
        errors = {status: count for status, count in answers.statuses.items() if status >= 500}
        if errors or answers.missing:
            found.append(f"5xx: {errors}, no answer: {dict(answers.missing)}")
        if self.numbers.p99 > P99_SECONDS:
            found.append(f"p99 is {1000 * self.numbers.p99:.0f} ms, allowed are {1000 * P99_SECONDS:.0f}")
        if self.numbers.drift > DRIFT:
            found.append(f"the API's memory grew by {self.numbers.drift:.1%}, allowed are {DRIFT:.0%}")
        return found

    def _feed(self) -> None:
        waiting = sum(self.topology.job(job_id).status not in TERMINAL for job_id in self.job_ids[-50:])
        for _ in range(max(0, WAITING - waiting)):
            self.job_ids.append(self.topology.submit(STEPS, STEP_SECONDS, retries=20))

    def _harm(self) -> None:
        harms = [self._kill_worker, self._stop_worker, self._freeze_worker, self._kill_training, self._freeze_training]
        if self.topology.postgres is not None:
            harms += [self._cut_connections, self._restart_broker]
        harm = random.choice(harms)
        if harm():
            self.numbers.faults[harm.__name__.strip("_").replace("_", " ")] += 1

    def _kill_worker(self) -> bool:
        number = random.randrange(WORKERS)
        self._workers[number].kill()
        self._workers[number] = self.topology.start_worker()
        return True

    def _stop_worker(self) -> bool:
        number = random.randrange(WORKERS)
        self._workers[number].ask_to_stop()
        with suppress(Exception):
            self._workers[number].wait(60)
        self._workers[number] = self.topology.start_worker()
        return True

    def _freeze_worker(self) -> bool:
        """Now and then past its lease."""
        worker = random.choice(self._workers)
        if not worker.is_alive:
            return False
        self.topology.freeze(worker.pid)
        self._over.wait(random.choice((1.0, 8.0)))
        worker.thaw()
        return True

    def _training(self) -> list[int]:
        with self.topology.db.read() as session:
            running = session.query(Job.id).where(Job.status == JobStatus.RUNNING).all()
        found = []
        for (job_id,) in running:
            with suppress(OSError, ValueError):
                found.append(int((self.topology.settings.files.job(job_id).lock).read_text()))
        return found

    def _kill_training(self) -> bool:
        pids = self._training()
        with suppress(ProcessLookupError, IndexError):
            kill(random.choice(pids), signal.SIGKILL)
            return True
        return False

    def _freeze_training(self) -> bool:
        pids = self._training()
        if not pids:
            return False
        pid = random.choice(pids)
        with suppress(ProcessLookupError, AssertionError):
            self.topology.freeze(pid)
            self._over.wait(2.0)
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGCONT)
        return True

    def _cut_connections(self) -> bool:
        """Of workers and training; the API's are cut as well, and made anew before they are used."""
        assert self.topology.postgres is not None
        self.topology.postgres.cut_off()
        return True

    def _restart_broker(self) -> bool:
        assert self.topology.redis is not None
        self.topology.redis.stop()
        self.topology.redis.start()
        return True

    def _watch_memory(self, pid: int) -> None:
        while not self._over.wait(1.0):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            self.numbers.memory.append(pages * 4096)


def soak(set_up: SetUp, seconds: float, facts: dict[str, object], model: Path) -> bool:
    """Prints the numbers; returns whether everything held."""
    folder = Path(tempfile.mkdtemp(prefix="adamss-soak-"))
    postgres = Postgres() if set_up == "production" else None
    words = compose.command("redis", compose.SECRETS)[1:]
    redis = RedisServer(folder, words, compose.SECRETS["REDIS_PASSWORD"]) if postgres is not None else None
    topology = Topology(folder / "home", set_up, model=model, facts=facts, postgres=postgres, redis=redis, fake=True)
    run = Soak(topology)
    try:
        run.run(seconds)
        run.settle()
        report(run, set_up, seconds)
        violations = run.violations()
        for violation in violations:
            print(f"  DOES NOT HOLD: {violation[:2_000]}")
        return not violations
    finally:
        topology.close()
        if redis is not None:
            redis.stop()
        if postgres is not None:
            postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


def report(run: Soak, set_up: SetUp, seconds: float) -> None:
    numbers, answers = run.numbers, run.numbers.answers
    jobs = [run.topology.job(job_id) for job_id in run.job_ids]
    ends = Counter(str(job.status) for job in jobs)
    attempts = sum(job.attempt for job in jobs)
    print(f"{set_up}: {seconds:g} s, {POLLERS} readers, {WORKERS} workers")
    print(f"  faults    {', '.join(f'{count} x {name}' for name, count in sorted(numbers.faults.items()))}")
    print(f"  jobs      {len(jobs)}, {dict(ends)}, {attempts} attempts")
    missing = answers.missing.total()
    print(f"  requests  {len(answers.seconds)}, by status {dict(answers.statuses)}, without answer {missing}")
    middle = statistics.median(answers.seconds) if answers.seconds else 0.0
    print(f"  latency   median {1000 * middle:.1f} ms, p99 {1000 * numbers.p99:.0f} ms")
    last = numbers.memory[-1] / 1e6 if numbers.memory else 0.0
    print(f"  memory    API {last:.0f} MB, drift {numbers.drift:+.1%}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--set-up", choices=("embedded", "production"), action="append")
    parser.add_argument("--seed", type=int, default=None, help="of the choice of faults")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing that was started is left behind
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="adamss-soak-model-") as folder:
        model = build_model(Path(folder) / "tiny")
        facts = inspection.inspect(FORKSERVER, str(model), None, local=True)
        held = [soak(name, arguments.seconds, facts, model) for name in arguments.set_up or ("embedded", "production")]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
