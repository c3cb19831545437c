"""Move the trials of sweeps: start them, `parallel` at a time, stop those that halving stops, keep the best artifacts.

Each pass is one transaction under the lock of the sweep's row and follows from the rows alone, so any number of workers
may run it, and one that dies in it leaves nothing half done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.shared.database.engine import Database
from service.shared.database.tables import (
    LEASED,
    TERMINAL,
    Artifact,
    Job,
    JobStatus,
    MetricRow,
    StoredFile,
    Sweep,
    SweepStatus,
    now,
)
from service.shared.errors import Conflict
from service.shared.expiries import is_needed, models_of
from service.shared.jobs import states
from service.shared.registrations import registered_as
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles
from service.shared.storage.trash import Trash
from service.shared.sweeps.device_time import device_seconds
from service.shared.sweeps.halving import judge
from service.shared.sweeps.trial_table import TrialRow, kept_first, table_of
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 2.0  # seconds between two passes: a trial that is to stop trains on until then


class SweepDriver(PeriodicThread):
    """Drive all running sweeps, in a thread.

    Args:
        on_start: called when a trial may be claimed.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        host_files: HostFiles | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("sweeps", min(LONGEST_PAUSE, settings.sweep_seconds))
        self._db, self._files = db, settings.files
        self._host_files = host_files or HostFiles(settings.files, db, None)
        self._trash, self._on_start = Trash(settings.files), on_start

    def round(self) -> None:
        try:
            with self._db.read() as session:
                running = session.scalars(select(Sweep.id).where(Sweep.state == SweepStatus.RUNNING)).all()
        except SQLAlchemyError as error:
            logger.warning("sweeps put off: %r", error)
            return
        for sweep_id in running:  # each by itself, so that one that cannot be moved holds up no other
            try:
                self.drive(sweep_id)
            except (SQLAlchemyError, OSError, Conflict) as error:  # Conflict: a job was moved on meanwhile
                logger.warning("sweep %s put off: %r", sweep_id, error)

    def drive(self, sweep_id: str) -> None:
        """Make one pass over a sweep; do nothing where another worker makes one."""
        with self._db.write() as session:
            locked = select(Sweep).where(Sweep.id == sweep_id, Sweep.state == SweepStatus.RUNNING)
            sweep = session.scalars(locked.with_for_update(skip_locked=True)).one_or_none()
            if sweep is None:
                return
            rows = table_of(session, sweep)
            _record_evaluations(session, sweep, rows)
            judge(sweep, rows)
            if _is_over_limit(session, sweep):
                _stop(session, sweep, rows, "limit")
            else:
                _stop(session, sweep, [row for row in rows if row.trial.stopped_after is not None], "halving")
            started = _start(session, sweep, table_of(session, sweep))
            rows = table_of(session, sweep)
            paths, keys = self._forget_artifacts(session, sweep, rows)
            if all(job.status in TERMINAL for row in rows for job in row.jobs):
                sweep.state, sweep.ended_at = SweepStatus.SUCCEEDED, now()
        for path in paths:
            self._trash.move(path)
        self._host_files.discard(keys)
        if started:
            self._on_start()

    def _forget_artifacts(
        self, session: Session, sweep: Sweep, rows: Sequence[TrialRow]
    ) -> tuple[list[Path], list[str]]:
        """Delete the rows of artifacts of trials that are not among the best; return their files and keys."""
        best = {row.trial.number for row in kept_first(sweep, rows)[: sweep.request["keep"]]}
        ended = {
            job.id: job for row in rows if row.trial.number not in best for job in row.jobs if job.status in TERMINAL
        }
        held = session.scalars(select(Artifact.job_id).where(Artifact.job_id.in_(ended), Artifact.name != "metrics"))
        paths: list[Path] = []
        keys: list[str] = []
        for job_id in sorted(set(held)):
            if is_needed(session, ended[job_id]) or registered_as(session, job_id):
                continue
            names = list(session.scalars(select(Artifact.path).where(*models_of(job_id))))
            session.execute(delete(Artifact).where(*models_of(job_id)))
            keys += self._host_files.forget(session, StoredFile.owner == job_id, StoredFile.name.in_(names))
            paths += [self._files.resolve(name) for name in names]
        return paths, keys


def _record_evaluations(session: Session, sweep: Sweep, rows: Sequence[TrialRow]) -> None:
    """Keep the objective of each evaluation with the trial, as metric rows may be archived or deleted."""
    name = f"eval_{sweep.objective}"
    mine = select(Job.id).where(Job.sweep_id == sweep.id)
    reported = (
        select(MetricRow.job_id, MetricRow.values)
        .where(MetricRow.job_id.in_(mine), MetricRow.kind == "eval", MetricRow.step > 0)
        .order_by(MetricRow.job_id, MetricRow.step)
    )
    found: dict[str, list[float | None]] = {}
    for job_id, values in session.execute(reported):
        if name in values:
            found.setdefault(job_id, []).append(values[name])
    for row in rows:
        known = row.trial.evaluations
        longer = {job.id: found[job.id] for job in row.jobs if len(found.get(job.id, ())) > len(known.get(job.id, ()))}
        if longer:
            row.trial.evaluations = known | longer
    session.flush()


def _is_over_limit(session: Session, sweep: Sweep) -> bool:
    seconds, hours = (sweep.request.get(name) for name in ("time_limit_seconds", "device_hours"))
    if seconds is not None and now() > sweep.created_at + timedelta(seconds=seconds):
        return True
    return hours is not None and device_seconds(session, sweep.id) > hours * 3600


def _stop(session: Session, sweep: Sweep, rows: Sequence[TrialRow], reason: states.StopReason) -> None:
    for row in rows:
        for job in row.jobs:
            if job.status not in TERMINAL:
                evaluations = row.trial.evaluations.get(job.id, [])[: row.trial.stopped_after]
                values = [value for value in evaluations if value is not None]
                best = (max if sweep.direction == "max" else min)(values, default=None)
                states.stop_early(session, job, {f"eval_{sweep.objective}": best}, reason)


def _start(session: Session, sweep: Sweep, rows: Sequence[TrialRow]) -> bool:
    """Queue waiting trials while fewer than `parallel` are under way, in the order of their numbers."""
    active = {row.trial.number for row in rows if any(job.status in (JobStatus.QUEUED, *LEASED) for job in row.jobs)}
    started = False
    for row in rows:
        paused = [job for job in row.jobs if job.status == JobStatus.PAUSED]
        if paused and (row.trial.number in active or len(active) < sweep.request["parallel"]):
            active.add(row.trial.number)
            for job in paused:
                states.resume(session, job)
            started = True
    return started
