"""Train one job, evaluate a trained model or measure a spectrum: `python -m worker.training_process <job folder>`.

The supervisor starts it. The process reads the request from the job's folder and the database's address from its
standard input, runs `adamss_core.training`, publishes the artifacts, and writes to `outcome.json` how it ended.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread, Timer
from time import monotonic, sleep
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from adamss_core.failpoints import failpoint
from adamss_core.training.errors import IncompleteRun, Stopped
from adamss_core.training.launcher import peers_live
from adamss_core.training.request import RunRequest, RunResult
from service.shared.database.engine import TRAINING_CONNECTIONS, Database, is_disk_full
from service.shared.processes.parent_death import die_with_parent
from service.shared.storage.home import Home, JobFolder
from service.shared.storage.host_files import HostFiles, open_store
from service.shared.storage.store_errors import StorageUnavailable
from worker.artifact_uploads import ArtifactUploads
from worker.failures import DATABASE_LOST, DISK_FULL, DISK_FULL_STATUS, Failure, failure, from_error
from worker.folder_lock import FolderBusy, FolderLock
from worker.metrics_file import metrics_file
from worker.outcome import Outcome
from worker.parent_pipe import ParentPipe, end_group
from worker.priority import lower_priority
from worker.publish import is_last_attempt, publish
from worker.rank_launch import end_with_pipe, leave, log_format, own_rank
from worker.report_store import ReportStore
from worker.reporter import BufferedReporter
from worker.run_log import begin_log

logger = logging.getLogger(__name__)

STORAGE_PAUSE = 2.0  # between two tries to publish; each has waited for the store already
PEERS_SECONDS = 6.0  # in which the core notices that another rank has died, and may say why
_DROP_SECONDS = 2.0  # to write the last rows of a run whose work is dropped


@dataclass(frozen=True)
class StartMessage:
    """The first line of the standard input; it holds passwords, which no file, argument or environment may.

    Attributes:
        project_id: of the job.
        storage_environment: variables with the store's credentials.
        storage_wait_seconds: that publishing waits for a store that is away.
        memory_share: of a GPU that other jobs share, the part that the process may allocate; None for no limit.
    """

    database_url: str
    attempt: int
    lease_seconds: float
    home: Path
    project_id: str = ""
    storage_url: str | None = None
    storage_environment: dict[str, str] = field(default_factory=dict)
    storage_wait_seconds: float = 0.0
    memory_share: float | None = None


def main() -> int:
    rank, ranks = own_rank()
    begin_log(log_format(rank, ranks))
    logger.info("start: the process begins")
    die_with_parent()
    if ranks > 1:
        lower_priority()  # the launcher has made this process the leader of a session of its own
    if rank > 0:
        return _follow(JobFolder(Path(sys.argv[1])))
    return TrainingProcess(JobFolder(Path(sys.argv[1]))).run()


class TrainingProcess:
    """Connect the core's run to signals, the parent's messages, reports and the outcome file."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self._reporter: BufferedReporter | None = None
        self._uploads: ArtifactUploads | None = None
        self._stop_asked = Event()
        self._dropped = False
        self._ending = Lock()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._pipe = ParentPipe()
        fields: dict[str, Any] = json.loads(self._pipe.first_line())
        self.order = StartMessage(**fields | {"home": Path(fields["home"])})
        Thread(target=self._listen, name="parent", daemon=True).start()

    def run(self) -> int:
        """Train, publish and write the outcome; return the exit status."""
        db = Database(self.order.database_url, TRAINING_CONNECTIONS)
        try:
            with FolderLock(self.folder):
                self._finish(self._train(db))
        except FolderBusy as error:
            self._finish(self._outcome("failed", failure("folder_busy", str(error), "It is tried again by itself.")))
        return 0

    def _train(self, db: Database) -> Outcome:
        request = RunRequest.from_json(self.folder.request.read_text())
        home = Home(self.order.home)
        self._uploads = self._open_store(db, home, request.job_id)
        store = ReportStore(db, request.job_id, self.order.attempt, self.folder, home, self._uploads)
        lease_seconds = self.order.lease_seconds
        reporter = self._reporter = BufferedReporter(store, lease_seconds=lease_seconds, on_stale=end_group)
        if self._stop_asked.is_set():
            reporter.stopping.set()
        try:
            failpoint("loading")
            return self._publish(db, request, _work(request, reporter, self.order.memory_share))
        except Stopped:
            return self._stopped()
        except IncompleteRun as error:
            logger.exception("the run is incomplete")
            if error.deterministic or is_last_attempt(db, request.job_id):
                return self._publish(db, request, error.outcome, from_error(error)[0])
            return self._failed(error)
        except Exception as error:
            logger.exception("the run failed")
            return self._failed(error)

    def _open_store(self, db: Database, home: Home, job_id: str) -> ArtifactUploads | None:
        if self.order.storage_url is None:
            return None
        os.environ.update(self.order.storage_environment)  # of the process itself: others cannot read what is set late
        files = HostFiles(home, db, open_store(self.order.storage_url))
        return ArtifactUploads(files, job_id, f"{self.order.project_id}/{job_id}", self.folder.heartbeat.touch)

    def _publish(self, db: Database, request: RunRequest, result: RunResult, error: Failure | None = None) -> Outcome:
        assert self._reporter is not None
        if not self._reporter.close(self.order.lease_seconds):
            return self._stopped()
        failpoint("before_publish")
        usage = resource.getrusage(resource.RUSAGE_SELF)
        logger.info("the process used %.1f s of CPU time", usage.ru_utime + usage.ru_stime)
        begin = monotonic()
        complete = request.evaluates is not None or request.inspects  # nothing was measured step by step
        while True:
            try:
                if not complete:
                    measured = metrics_file(db, self.folder, request.job_id)
                    result, complete = replace(result, artifacts=[*result.artifacts, measured]), True
                won = publish(db, self.order.home, request.job_id, self.order.attempt, result, error, self._uploads)
            except StorageUnavailable as away:
                if self._stop_asked.is_set():
                    return self._outcome("stopped")
                if monotonic() > begin + self.order.storage_wait_seconds:
                    return self._outcome("failed", from_error(away)[0])
                logger.warning("the artifacts are published as soon as the store is back: %s", away)
                sleep(STORAGE_PAUSE)
            except SQLAlchemyError as outage:
                if monotonic() > begin + self.order.lease_seconds:
                    return self._outcome("failed", DATABASE_LOST)
                logger.warning("the artifacts are published as soon as the database is back: %r", outage)
                sleep(min(1.0, self.order.lease_seconds / 10))
            else:
                if won and error is not None:
                    return self._outcome("failed", error, deterministic=True)
                return self._outcome("succeeded" if won else "stopped")

    def _stopped(self) -> Outcome:
        reporter = self._reporter
        assert reporter is not None
        lost = reporter.database_lost.is_set()
        written = reporter.close(_DROP_SECONDS if lost else self.order.lease_seconds)
        if (lost or not written) and not self._stop_asked.is_set():
            return self._outcome("failed", DISK_FULL if reporter.disk_full else DATABASE_LOST)
        return self._outcome("stopped")

    def _failed(self, error: Exception) -> Outcome:
        described, deterministic = from_error(error)
        assert self._reporter is not None
        self._reporter.close(self.order.lease_seconds)
        return self._outcome("failed", described, deterministic)

    def _outcome(self, ended: Any, error: Failure | None = None, deterministic: bool = False) -> Outcome:
        return Outcome(self.order.attempt, ended, error, deterministic)

    def _finish(self, outcome: Outcome) -> None:
        with self._ending:
            if self._dropped:
                return
            try:
                outcome.write(self.folder)
            except OSError as error:
                logger.exception("the outcome could not be written")
                os._exit(DISK_FULL_STATUS if is_disk_full(error) else 1)

    def _on_term(self, *_: object) -> None:
        if not peers_live(own_rank()[1]):
            # The launcher ends all, as one has died: nothing can be agreed on any more, and no stop was asked for.
            Timer(PEERS_SECONDS, os._exit, [1]).start()
            return
        self._stop()

    def _stop(self) -> None:
        self._stop_asked.set()
        reporter = self._reporter
        if reporter is None or not reporter.started.is_set():
            # Nothing was trained in this attempt, so nothing is worth a checkpoint, and loading a model cannot be
            # interrupted by a flag. From a thread, as a signal handler must not wait for locks.
            Thread(target=self._drop, name="drop", daemon=True).start()
        else:
            reporter.stopping.set()

    def _listen(self) -> None:
        """Follow the parent's messages, {"stop": "drop" or "keep"}; end the group when it is gone.

        A single process is asked to keep its work by SIGTERM, which in a group would meet the launcher.
        """
        for line in self._pipe.lines():
            if (wanted := json.loads(line).get("stop")) == "drop":
                self._drop()
            elif wanted == "keep":
                self._stop()
        end_group()

    def _drop(self) -> NoReturn:
        """End the process at once, after writing the rows that it reported."""
        reporter = self._reporter
        if reporter is not None:
            reporter.close(_DROP_SECONDS)
        with self._ending:
            if Outcome.read(self.folder, self.order.attempt) is None:
                self._outcome("stopped").write(self.folder)
            self._dropped = True
            os._exit(0)


def _follow(folder: JobFolder) -> int:
    """Be a rank beside the first, which alone reports, writes and takes orders."""
    end_with_pipe()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from adamss_core.training.run import follow

    follow(RunRequest.from_json(folder.request.read_text()))
    return 0


def _work(request: RunRequest, reporter: BufferedReporter, memory_share: float | None) -> RunResult:
    """Train, evaluate what was trained before, or measure a spectrum; torch is imported only here, and only now."""
    if memory_share is not None:
        from adamss_core.training.shared_device import limit_memory

        limit_memory(memory_share)
    if request.evaluates is not None:
        from adamss_core.evaluation_job import evaluate_model

        return evaluate_model(request, reporter)
    if request.inspects:
        from adamss_core.spectrum_job import measure_spectrum

        return measure_spectrum(request, reporter)
    from adamss_core.training.run import run

    return run(request, reporter)


if __name__ == "__main__":
    exit_status = main()
    if own_rank()[1] > 1:
        leave(exit_status)
    sys.exit(exit_status)
