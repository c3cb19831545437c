"""Buffer the reports of a run, and write them from a thread, so that reporting never slows training.

Reports that pile up within a second are written in one transaction of `ReportStore`. In an outage of the database they
stay in the buffer; in a crash of the process they stay in the write-ahead log, for the next attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from threading import Event as Flag
from time import monotonic
from typing import Any

from adamss_core.failpoints import failpoint
from adamss_core.spec import Plan
from adamss_core.training.request import AdapterSize, ArtifactFile
from service.shared.database.tables import now
from worker.batch import Batch, Row
from worker.clean_json import clean
from worker.heartbeat import Heartbeat
from worker.report_store import DatabaseUnavailable, ReportStore, StaleAttempt
from worker.write_ahead_log import WriteAheadLog

logger = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds: how old a row may get before it is written
REGISTER_SECONDS = 5.0  # that an artifact waits for the database
REST = 4.0  # pause after a transaction, in multiples of its duration


class BufferedReporter:
    """Implement `adamss_core.training.Reporter` for a job of the service.

    Args:
        lease_seconds: an outage of the database that lasts longer ends the run.
        on_stale: called once, from the reporter's thread, when another attempt turns out to own the job.

    Attributes:
        stopping: set by the owner to stop the run with a checkpoint.
        stale: another attempt owns the job; nothing more is written.
        database_lost: the database was unavailable for longer than the lease.
        disk_full: whether the last failure to write was a full disk.
        started: set with the first completed step, or the first result: from then on a checkpoint is worth writing.
    """

    def __init__(
        self,
        store: ReportStore,
        *,
        lease_seconds: float,
        on_stale: Callable[[], None] | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self._store, self._lease_seconds, self._on_stale, self._interval = store, lease_seconds, on_stale, interval
        self._log = WriteAheadLog(store.folder)
        self._heartbeat = Heartbeat(store.folder, store.attempt)
        self._batch = Batch()
        self._changed = Condition()
        self._writing = False
        self._writing_since: float | None = None
        self._failing_since: float | None = None
        self._closing = False
        self._urgent = self._flushing = False
        self._progressed = True
        self.disk_full = False
        self.stopping, self.stale, self.database_lost, self.started = Flag(), Flag(), Flag(), Flag()
        self._thread = Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    # Calls of the run. Each only puts a row into the buffer, `artifact` excepted.

    def metrics(self, *, kind: str, step: int, epoch: float, values: dict[str, Any]) -> None:
        self._add("metric", {"kind": kind, "step": step, "epoch": epoch, "time": now(), "values": clean(values)})

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        self.started.set()
        self._heartbeat.record_step(step)
        failpoint("mid_step")
        with self._changed:
            self._batch.progress = {
                "step": step,
                "total_steps": total_steps,
                "epoch": epoch,
                "eta_seconds": eta_seconds,
                "asa": asa,
            }
            self._progressed = True

    def subspaces(self, *, step: int, summary: dict[str, Any]) -> None:
        self._add("subspaces", {"step": step, "summary": clean(summary)})

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        self._add("event", {"type": type, "message": message, "data": clean(data), "time": now()})

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None:
        row = {"step": step, "path": path, "best": best, "values": clean(values), "created_at": now()}
        # The next attempt resumes here, and does not report the steps before again.
        self._add("checkpoint", row, urgent=True)

    def resumed(self, step: int) -> None:
        with self._changed:
            self._batch.resumed = step
            self._progressed = True

    def planned(self, plan: Plan, size: AdapterSize) -> None:
        with self._changed:
            self._batch.plan = (plan, size)
            self._progressed = True

    def artifact(self, artifact: ArtifactFile) -> None:
        """Wait until it is registered: the process may be killed while it writes the next one.

        In an outage it is registered later, with the end of the job at the latest.
        """
        if not self._store.upload(artifact):
            return
        with self._changed:
            self._batch.artifacts[artifact.name] = artifact
            self._progressed = True
        self.flush(REGISTER_SECONDS)

    def result(self, result: dict[str, Any]) -> None:
        self.started.set()  # a contender's steps are worth a checkpoint too
        with self._changed:
            self._batch.result = clean(result)
            self._progressed = True

    def decomposition(self, path: Path) -> None:
        self._store.decomposition(path)
        self._progressed = True

    def stop_requested(self) -> bool:
        self._progressed = True
        since = self._writing_since  # a server that is frozen, not dead, never answers
        if since is not None and monotonic() - since > self._lease_seconds:
            self.database_lost.set()
        return self.stopping.is_set() or self.stale.is_set() or self.database_lost.is_set()

    # Calls of the training process around the run.

    def flush(self, timeout: float) -> bool:
        """Wait until every report so far is written; False if that takes longer than `timeout` seconds."""
        deadline = monotonic() + timeout
        with self._changed:
            self._urgent = self._flushing = True
            self._changed.notify_all()
            while self._batch or self._writing:
                if self.stale.is_set() or not self._thread.is_alive() or monotonic() >= deadline:
                    return False
                self._changed.wait(min(0.2, max(0.0, deadline - monotonic())))
            self._flushing = False
        return not self.stale.is_set()

    def close(self, timeout: float) -> bool:
        """Flush and end the thread; False if rows were not written."""
        written = self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)
        return written

    # The thread.

    def _add(self, kind: str, row: Row, *, urgent: bool = False) -> None:
        with self._changed:
            self._log.add(kind, row)
            self._batch.add(kind, row)
            self._progressed = True
            if urgent:
                self._urgent = True
                self._changed.notify_all()

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                begin = self._writing_since = monotonic()
                self._write(batch)
                self._writing_since = None
                self._rest(REST * (monotonic() - begin))

    def _take(self) -> Batch | None:
        """Wait for the interval or an urgent row, then take the buffered rows; None when the thread is to end."""
        with self._changed:
            if not self._closing and not (self._urgent and self._batch):
                self._changed.wait(self._interval)
            if self._closing or self.stale.is_set():
                return None
            batch, self._batch = self._batch, Batch()
            self._writing = bool(batch)
            progressed, self._progressed = self._progressed, False
        if progressed:
            self._heartbeat.touch()
        return batch

    def _rest(self, seconds: float) -> None:
        """Leave SQLite's lock to others: it is not fair, and a run that writes often could keep it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._flushing, min(seconds, self._interval))

    def _write(self, batch: Batch) -> None:
        try:
            self._store.write(batch, self._log.left)
        except StaleAttempt:
            self._end_stale()
        except Exception as error:
            self._keep(batch, error)
        else:
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        self._failing_since = None
        with self._changed:
            self._writing = False
            self._urgent = self._urgent and bool(self._batch)
            if batch.resumed is not None:
                self._log.left.clear()
            if not self._batch and not self._log.left:
                self._log.clear()
            self._changed.notify_all()

    def _end_stale(self) -> None:
        logger.warning("the job belongs to another attempt: nothing more is written")
        self.stale.set()
        with self._changed:
            self._writing = False
            self._changed.notify_all()
        if self._on_stale is not None:
            self._on_stale()

    def _keep(self, batch: Batch, error: Exception) -> None:
        """Put the rows back into the buffer and wait a moment before the next try."""
        outage = isinstance(error, DatabaseUnavailable)  # anything else is a bug of ours: no row is lost by it either
        logger.warning("reports are kept until they can be written: %s", error, exc_info=not outage)
        self._failing_since = self._failing_since or monotonic()
        self.disk_full = isinstance(error, DatabaseUnavailable) and error.disk_full
        if monotonic() - self._failing_since > self._lease_seconds:
            self.database_lost.set()
        batch.tried = True
        with self._changed:
            self._batch = batch.followed_by(self._batch)
            self._writing = False
            self._changed.notify_all()
            if not self._closing:
                self._changed.wait(min(self._interval, 1.0))  # no hot loop while a flush is urgent
