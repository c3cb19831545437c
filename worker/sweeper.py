"""Keep jobs moving when processes and messages are lost: expire leases, start waiting jobs.

Every effect is a compare-and-set, so any number of sweepers may run.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.spec import SPEC_VERSION
from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import Job, Worker, now
from service.shared.jobs import device_rows, device_use, kept_places, states
from service.shared.jobs.kept_places import Places
from service.shared.resources import Resources
from service.shared.settings import Settings
from worker.device_locks import DeviceLocks
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

FORGET_WORKERS_SECONDS = 86_400.0


class Sweeper(PeriodicThread):
    """Sweep every `sweep_seconds`, and when woken.

    Args:
        worker_id: the id under which the worker claims jobs and is listed.
        devices: that the worker trains on.
        start: starts the job whose turn it is, as a message that names the job would; returns at once.
        free: returns how many more jobs this worker could start.
        resources: memory and abilities of the devices.
        leave: has the running jobs write a checkpoint and wait for another worker.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        devices: DeviceLocks,
        start: Callable[[str], None],
        free: Callable[[], int],
        resources: Resources | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("sweeper", settings.sweep_seconds)
        self._settings, self._db, self._start_job, self._free = settings, db, start, free
        self._leave_jobs = leave
        self._worker_id, self._devices, self._resources = worker_id, devices, resources
        self._started_at = now()

    def close(self) -> None:
        """End the thread and remove the worker from the list."""
        super().close()
        with suppress(SQLAlchemyError), self._db.write() as session:
            session.execute(delete(Worker).where(Worker.id == self._worker_id))

    def sweep(self) -> None:
        """Take each step once; a step that the database prevents is left to the next sweep."""
        for step in (self._register, self._expire, self._leave, self._meter, self._place, self._start_waiting):
            try:
                step()
            except SQLAlchemyError as error:
                logger.warning("sweeping: %s put off: %r", step.__name__.strip("_"), error)

    def round(self) -> None:
        self.sweep()

    def _register(self) -> None:
        self._devices.measure()
        with self._db.write() as session:
            devices = self._devices.states()  # in the transaction: a claim has its locks before it is written
            moment = database_now(session)
            session.merge(
                Worker(
                    id=self._worker_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    devices=[device.name for device in devices],
                    resources=None if self._resources is None else self._resources.model_dump(),
                    spec_version=SPEC_VERSION,
                    started_at=self._started_at,
                    seen_at=moment,
                )
            )
            device_rows.register(session, self._worker_id, devices)
            forgotten = moment - timedelta(seconds=FORGET_WORKERS_SECONDS)
            session.execute(delete(Worker).where(Worker.seen_at < forgotten))

    def _expire(self) -> None:
        with self._db.read() as session:  # a read takes no lock that training processes wait for on SQLite
            if not _any_expired(session):
                return
        with self._db.write() as session:
            queued = states.expire_leases(session)
        if queued:
            logger.warning("workers of these jobs were lost; they are queued again: %s", ", ".join(queued))

    def _leave(self) -> None:
        """Give the running jobs back where this host is drained of them."""
        with self._db.read() as session:
            leaves = states.is_drained(session, socket.gethostname(), of_running_jobs=True)
        if leaves:
            self._leave_jobs()

    def _meter(self) -> None:
        """Count the use of the running jobs."""
        with self._db.read() as session:
            if not device_use.is_due(session, self._worker_id):
                return
        with self._db.write() as session:
            device_use.meter_running(session, self._worker_id)

    def _place(self) -> None:
        """Keep places for a job that has waited for long, and have running jobs make room for a higher priority."""
        with self._db.read() as session:
            if states.is_drained(session, socket.gethostname()) or not kept_places.is_wanted(session, self._places()):
                return
        with self._db.write() as session:
            places = self._places()
            asked = kept_places.make_room(session, places)
            kept_places.keep_places(session, places, self._settings.reserve_seconds)
        if asked:
            logger.info("these jobs make room for a higher priority: %s", ", ".join(asked))

    def _places(self) -> Places:
        limit, live = self._settings.project_running_jobs, self._settings.lease_seconds
        return Places(self._worker_id, self._devices.states(), limit, live)

    def _start_waiting(self) -> None:
        """Start jobs without a message, as messages may be lost, or stay unread behind others."""
        free = self._free()
        if free <= 0:
            return
        with self._db.read() as session:
            fit = kept_places.fits_now(session, self._places())
            waiting = states.next_in_turn(session, self._settings.project_running_jobs, socket.gethostname(), fit)
        if waiting is not None:
            for _ in range(free):
                self._start_job(waiting)


def _any_expired(session: Session) -> bool:
    statement = select(Job.id).where(Job.lease_until < database_now(session)).limit(1)
    return session.execute(statement).first() is not None
