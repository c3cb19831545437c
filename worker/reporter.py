"""Writes what a run reports, from a thread of its own, so that reporting never slows training.

Everything that piled up within a second goes into one transaction, which first takes the lock of the job's row and
compares the attempt: a stale attempt writes nothing. The lock also hands out sequence numbers in the order of commits,
so that a reader who asks for rows after the last number it saw misses none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Condition, Thread
from threading import Event as Flag
from time import monotonic
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.failpoints import failpoint
from adamss_core.spec import Plan
from service.db import Database, is_disk_full
from service.tables import HELD, Checkpoint, Event, Job, Metric, SubspaceMap, now
from worker.clean_json import clean
from worker.journal import Journal
from worker.plan import resolved_by_run

logger = logging.getLogger(__name__)

ALIVE = "alive"  # touched while the run makes progress; the supervisor watches its time
STEP = "step"  # holds the attempt and the last step it made
INTERVAL = 1.0  # seconds: how old a row may get before it is written
REST = 4.0  # times as long as a transaction took
Row = dict[str, Any]


class StaleAttempt(Exception):
    """The job belongs to another attempt, or to nobody, by now."""


@dataclass
class Batch:
    """Rows that wait to be written. Rows of the same step replace each other."""

    metrics: dict[tuple[str, int], Row] = field(default_factory=dict)
    subspaces: dict[int, Row] = field(default_factory=dict)
    checkpoints: dict[int, Row] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)
    progress: Row | None = None
    resumed: int | None = None
    plan: tuple[Plan, int] | None = None  # and its number of subspaces
    tried: bool = False  # a transaction with it broke off, perhaps only after its commit

    def __bool__(self) -> bool:
        return bool(
            self.metrics
            or self.subspaces
            or self.checkpoints
            or self.events
            or self.progress
            or self.resumed is not None
            or self.plan is not None
        )

    def followed_by(self, newer: Batch) -> Batch:
        return Batch(
            metrics=self.metrics | newer.metrics,
            subspaces=self.subspaces | newer.subspaces,
            checkpoints=self.checkpoints | newer.checkpoints,
            events=self.events + newer.events,
            progress=newer.progress or self.progress,
            resumed=self.resumed if newer.resumed is None else newer.resumed,
            plan=newer.plan or self.plan,
            tried=self.tried or newer.tried,
        )


class Reporter:
    """The `adamss_core.training.Reporter` of a job of the service.

    Args:
        attempt: the fencing token under which everything is written.
        folder: the job's folder.
        lease_seconds: an outage of the database that lasts longer ends the run.
        on_stale: called once, from the reporter's thread, when the job turns out to be another attempt's.
    """

    def __init__(
        self,
        db: Database,
        job_id: str,
        attempt: int,
        folder: Path,
        *,
        lease_seconds: float,
        on_stale: Callable[[], None] | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self._db, self._job_id, self._attempt, self._folder = db, job_id, attempt, folder
        self._lease_seconds, self._on_stale, self._interval = lease_seconds, on_stale, interval
        self._batch = Batch()
        self._changed = Condition()
        self._journal = Journal(folder)
        self._step_file = os.open(folder / STEP, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._writing = False
        self._writing_since: float | None = None
        self._closing = False
        self._urgent = self._flushing = False
        self._progressed = True
        self._failing_since: float | None = None
        self.disk_full = False  # why the database was lost
        self.stopping = Flag()
        self.stale = Flag()
        self.database_lost = Flag()
        self.started = Flag()  # a step was made: from here on there is something to keep
        self._thread = Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    # What the run calls. Each call only puts a row into the buffer.

    def metrics(self, *, kind: str, step: int, epoch: float, values: dict[str, Any]) -> None:
        row = {"kind": kind, "step": step, "epoch": epoch, "time": now(), "values": clean(values)}
        with self._changed:
            self._journal.add("metric", row)
            self._batch.metrics[kind, step] = row
            self._progressed = True

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        self.started.set()
        with suppress(OSError):
            os.pwrite(self._step_file, f"{self._attempt} {step}".ljust(32).encode(), 0)
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
        row = {"step": step, "summary": clean(summary)}
        with self._changed:
            self._journal.add("subspaces", row)
            self._batch.subspaces[step] = row
            self._progressed = True

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        row = {"type": type, "message": message, "data": clean(data), "time": now()}
        with self._changed:
            self._journal.add("event", row)
            self._batch.events.append(row)
            self._progressed = True

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None:
        row = {"step": step, "path": path, "best": best, "values": clean(values), "created_at": now()}
        with self._changed:
            self._journal.add("checkpoint", row)
            self._batch.checkpoints[step] = row
            self._progressed = True
            self._urgent = True  # the next attempt goes on from here, and would not report the steps before again
            self._changed.notify_all()

    def resumed(self, step: int) -> None:
        with self._changed:
            self._batch.resumed = step
            self._progressed = True

    def planned(self, plan: Plan, subspaces: int) -> None:
        with self._changed:
            self._batch.plan = (plan, subspaces)
            self._progressed = True

    def stop_requested(self) -> bool:
        self._progressed = True
        since = self._writing_since  # a server that is frozen, not dead, never answers
        if since is not None and monotonic() - since > self._lease_seconds:
            self.database_lost.set()
        return self.stopping.is_set() or self.stale.is_set() or self.database_lost.is_set()

    # What the training process calls around it.

    def flush(self, timeout: float) -> bool:
        """Waits until everything reported so far is written; False where it is not within `timeout` seconds."""
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
        """Flushes and ends the thread; False where rows were not written."""
        written = self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)
        return written

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._closing and not (self._urgent and self._batch):
                    self._changed.wait(self._interval)
                if self._closing or self.stale.is_set():
                    return
                batch, self._batch = self._batch, Batch()
                self._writing = bool(batch)
                progressed, self._progressed = self._progressed, False
            if progressed:
                self._touch()
            if batch:
                begin = self._writing_since = monotonic()
                self._write(batch)
                self._writing_since = None
                self._rest(REST * (monotonic() - begin))

    def _rest(self, seconds: float) -> None:
        """SQLite's lock goes to whoever asks at the right moment: a run that writes often must leave some."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._flushing, min(seconds, self._interval))

    def _write(self, batch: Batch) -> None:
        try:
            with self._db.write() as session:
                self._store(session, batch)
        except StaleAttempt:
            logger.warning("the job belongs to another attempt: nothing more is written")
            self.stale.set()
            with self._changed:
                self._writing = False
                self._changed.notify_all()
            if self._on_stale is not None:
                self._on_stale()
        except Exception as error:
            self._keep(batch, error)
        else:
            self._failing_since = None
            with self._changed:
                self._writing = False
                self._urgent = self._urgent and bool(self._batch)
                if batch.resumed is not None:
                    self._journal.left.clear()
                if not self._batch and not self._journal.left:
                    self._journal.clear()
                self._changed.notify_all()

    def _keep(self, batch: Batch, error: Exception) -> None:
        """Puts the rows back, to be tried again in a moment."""
        known = isinstance(error, SQLAlchemyError)  # an outage; anything else is a fault of ours, and as little lost
        logger.warning("reports are kept until they can be written: %r", error, exc_info=not known)
        self._failing_since = self._failing_since or monotonic()
        self.disk_full = is_disk_full(error)
        if monotonic() - self._failing_since > self._lease_seconds:
            self.database_lost.set()
        batch.tried = True
        with self._changed:
            self._batch = batch.followed_by(self._batch)
            self._writing = False
            self._changed.notify_all()
            if not self._closing:
                self._changed.wait(min(self._interval, 1.0))  # no hot loop while a flush is urgent

    def _store(self, session: Session, batch: Batch) -> None:
        job = session.execute(select(Job).where(Job.id == self._job_id).with_for_update()).scalar_one_or_none()
        if job is None or job.attempt != self._attempt or job.status not in HELD:
            raise StaleAttempt
        if batch.resumed is not None:
            self._void_after(session, batch.resumed)
            batch = self._left_behind(session, batch.resumed).followed_by(batch)
        own = {"job_id": self._job_id, "attempt": self._attempt}
        rows: list[tuple[type[Any], Row]] = [(Metric, row) for row in batch.metrics.values()]
        rows += [(Event, row) for row in self._unwritten(session, batch)]
        rows.sort(key=lambda entry: entry[1]["time"])
        rows += [(SubspaceMap, row) for row in batch.subspaces.values()]
        numbered: dict[type[Any], list[Row]] = {Metric: [], Event: [], SubspaceMap: []}
        for table, row in rows:
            job.last_seq += 1
            numbered[table].append(clean_row(row) | own | {"seq": job.last_seq})
        self._replace_metrics(session, numbered[Metric])
        if numbered[Event]:
            session.execute(insert(Event), numbered[Event])
        self._replace(session, SubspaceMap, numbered[SubspaceMap])
        self._store_checkpoints(session, [clean_row(row) | own for row in batch.checkpoints.values()])
        if batch.plan is not None:
            plan, subspaces = batch.plan
            job.total_steps = plan.total_steps
            job.resolved = resolved_by_run(job.resolved, plan, subspaces)
        for name, value in (batch.progress or {}).items():
            if name != "asa" or value is not None:
                setattr(job, name, clean(value))

    def _unwritten(self, session: Session, batch: Batch) -> list[Row]:
        """Events, less those of a transaction that broke off only after its commit."""
        if not (batch.tried and batch.events):
            return batch.events
        written = session.execute(
            select(Event.time, Event.type).where(Event.job_id == self._job_id, Event.attempt == self._attempt)
        )
        known = {(time, kind) for time, kind in written}
        return [row for row in batch.events if (row["time"], row["type"]) not in known]

    def _left_behind(self, session: Session, step: int) -> Batch:
        """Reports of attempts that were killed before they were written, up to the step that is gone on from."""
        metrics = select(Metric.kind, Metric.step).where(Metric.job_id == self._job_id)
        known: set[tuple[object, ...]] = {("metric", kind, at) for kind, at in session.execute(metrics)}
        events = select(Event.type, Event.time).where(Event.job_id == self._job_id)
        known |= {("event", kind, time) for kind, time in session.execute(events)}
        for name, table in (("subspaces", SubspaceMap), ("checkpoint", Checkpoint)):
            known |= {(name, at) for at in session.scalars(select(table.step).where(table.job_id == self._job_id))}
        left = Batch()
        for kind, row in self._journal.left:
            if kind == "event" and ("event", row["type"], row["time"]) not in known:
                left.events.append(row)
            elif kind == "metric" and row["step"] <= step and ("metric", row["kind"], row["step"]) not in known:
                left.metrics[row["kind"], row["step"]] = row
            elif kind == "subspaces" and row["step"] <= step and (kind, row["step"]) not in known:
                left.subspaces[row["step"]] = row
            elif kind == "checkpoint" and row["step"] <= step and (kind, row["step"]) not in known:
                left.checkpoints[row["step"]] = row
        return left

    def _void_after(self, session: Session, step: int) -> None:
        """The newest attempt wins: what earlier ones reported after the step it goes on from is void."""
        for table in (Metric, SubspaceMap, Checkpoint):
            earlier = (table.job_id == self._job_id, table.attempt < self._attempt, table.step > step)
            session.execute(delete(table).where(*earlier))

    def _replace_metrics(self, session: Session, rows: list[Row]) -> None:
        for kind in {row["kind"] for row in rows}:
            steps = [row["step"] for row in rows if row["kind"] == kind]
            same = (Metric.job_id == self._job_id, Metric.kind == kind, Metric.step.in_(steps))
            session.execute(delete(Metric).where(*same))
        if rows:
            session.execute(insert(Metric), rows)

    def _replace(self, session: Session, table: type[SubspaceMap] | type[Checkpoint], rows: list[Row]) -> None:
        if not rows:
            return
        steps = [row["step"] for row in rows]
        session.execute(delete(table).where(table.job_id == self._job_id, table.step.in_(steps)))
        session.execute(insert(table), rows)

    def _store_checkpoints(self, session: Session, rows: list[Row]) -> None:
        """Only one checkpoint is the best, and one that the run has cleared away is not listed any more."""
        if not rows:
            return
        best = [row for row in rows if row["best"]]
        if best:
            session.execute(update(Checkpoint).where(Checkpoint.job_id == self._job_id).values(best=False))
            for row in best[:-1]:
                row["best"] = False
        self._replace(session, Checkpoint, rows)
        listed = select(Checkpoint.step, Checkpoint.path).where(Checkpoint.job_id == self._job_id)
        gone = [step for step, path in session.execute(listed) if not (self._folder / path).exists()]
        if gone:
            session.execute(delete(Checkpoint).where(Checkpoint.job_id == self._job_id, Checkpoint.step.in_(gone)))

    def _touch(self) -> None:
        try:
            (self._folder / ALIVE).touch()
        except OSError as error:
            logger.warning("no sign of life could be left: %r", error)


def clean_row(row: Row) -> Row:
    return {name: value if isinstance(value, datetime) else clean(value) for name, value in row.items()}
