"""Tell waiting jobs their places in the queue, why they wait, and when they are expected to start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median, quantiles
from threading import Lock
from time import monotonic

from adamss_core.spec import SPEC_VERSION
from service.http.context import Caller
from service.jobs import place_queries
from service.jobs.place_schemas import QueuedJobOut, QueueOut, QueuePlaceOut
from service.shared.database.engine import Database
from service.shared.database.tables import Job, JobStatus, Role, now
from service.shared.jobs.device_use import next_month
from service.shared.jobs.fleet_state import as_queued, read_shares, read_workers
from service.shared.jobs.queue_forecast import ExpectedStart, Outlook, claim_sequence, expected_starts
from service.shared.jobs.wait_reasons import Shortages, why_waiting
from service.shared.settings import Settings

FRESH_SECONDS = 2.0  # for which a forecast is shown again
LONG_SECONDS, RESTS = 0.1, 10  # after a forecast that took so long, none is computed for so many times as long
BEYOND = QueuePlaceOut(place=None, reason=f"more than {place_queries.COUNTED:,} jobs are before it")
NEW = QueuePlaceOut(place=None, reason="it has just been queued")
LEAST_MEASURED = 8  # jobs whose times are compared with their estimates, below which a factor of two is assumed


@dataclass(frozen=True)
class Forecast:
    """The places of all waiting jobs.

    Attributes:
        waiting: how many wait, also those that have no place.
    """

    places: dict[str, QueuePlaceOut]
    jobs: list[Job]
    waiting: int
    at: datetime


class QueueForecast:
    """The forecast of this process, computed anew when it is asked for and no longer fresh."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db
        self._lock = Lock()
        self._computed_at, self._took = float("-inf"), 0.0
        self._forecast = Forecast({}, [], 0, now())

    def read(self, fresh_seconds: float = FRESH_SECONDS) -> Forecast:
        """Return the places of the waiting jobs; a long queue is looked at less often."""
        with self._lock:
            begin = monotonic()
            rest = RESTS * self._took if self._took > LONG_SECONDS else 0.0
            if begin > self._computed_at + max(fresh_seconds, rest):
                self._forecast = self._compute()
                self._computed_at = monotonic()
                self._took = self._computed_at - begin
            return self._forecast

    def place(self, job: Job) -> QueuePlaceOut | None:
        """Return the place of a job; None if it does not wait."""
        if job.status != JobStatus.QUEUED:
            return None
        found = self.read()
        if job.id not in found.places and job.queued_at >= found.at:  # it has just been queued
            found = self.read(0.0)
        return found.places.get(job.id, BEYOND if found.waiting > place_queries.COUNTED else NEW)

    def _compute(self) -> Forecast:
        with self._db.read() as session:
            moment = now()
            waiting = place_queries.count_waiting(session)
            if waiting == 0:
                return Forecast({}, [], 0, moment)
            jobs, seconds = place_queries.waiting_jobs(session)
            left = place_queries.running_seconds(session, moment)
            workers = read_workers(session, self._settings.lease_seconds)
            shares = read_shares(session, self._settings.project_running_jobs)
            measured = place_queries.measured(session)
        outlook = _outlook(seconds, left, measured)
        due = {job.id: as_queued(job) for job in jobs if _delay(job, moment) is None}
        sequence = claim_sequence(due.values(), shares, outlook, moment)
        starts = expected_starts(sequence, shares, workers, outlook)
        month = f"{next_month(moment):%Y-%m-%d}"
        places: dict[str, QueuePlaceOut] = {}
        shortages = Shortages(workers)
        for number, job in enumerate(sequence, 1):
            reason = why_waiting(job, shares[job.project], shortages, number, month)
            places[job.id] = _place(number, starts.get(job.id), moment, reason)
        delays = {job.id: _delay(job, moment) for job in jobs}
        places |= {name: QueuePlaceOut(place=None, reason=delay) for name, delay in delays.items() if delay}
        order = {job_id: number for number, job_id in enumerate(places)}
        return Forecast(places, sorted(jobs, key=lambda job: order[job.id]), waiting, moment)


def _outlook(seconds: dict[str, float], left: dict[str, float], measured: list[tuple[float, float | None]]) -> Outlook:
    """Learn from finished jobs how long one takes, and how far estimates are off."""
    known = [taken for taken, _ in measured]
    ratios = [taken / expected for taken, expected in measured if expected]
    usual = median(known) if known else median(seconds.values()) if seconds else None
    if len(ratios) < LEAST_MEASURED:
        return Outlook(seconds, left, usual)
    tenths = quantiles(ratios, n=10)
    return Outlook(seconds, left, usual, (min(1.0, tenths[0]), max(1.0, tenths[-1])))


def _delay(job: Job, moment: datetime) -> str | None:
    """Say what keeps a job from being claimed whatever is free."""
    if job.not_before is not None and job.not_before > moment:
        return f"waits until {job.not_before:%H:%M:%S} UTC after a failed attempt"
    if job.spec_version > SPEC_VERSION:
        return f"needs a worker that understands version {job.spec_version} of the spec"
    return None


def _place(number: int, start: ExpectedStart | None, moment: datetime, reason: str) -> QueuePlaceOut:
    if start is None:
        return QueuePlaceOut(place=number, reason=reason)
    at = [moment + timedelta(seconds=seconds) for seconds in (start.seconds, start.earliest, start.latest)]
    return QueuePlaceOut(place=number, reason=reason, expected_start=at[0], earliest_start=at[1], latest_start=at[2])


def list_queue(caller: Caller) -> QueueOut:
    """List the waiting jobs of the caller's project, in the order of their expected starts; an admin's is of all."""
    found = caller.queue.read()
    everything = caller.role is Role.ADMIN
    own = [job for job in found.jobs if everything or job.project_id == caller.project_id]
    shown = ("id", "name", "owner", "priority", "devices", "device_kind", "queued_at")
    data = [
        QueuedJobOut(**found.places[job.id].model_dump(), **{name: getattr(job, name) for name in shown}) for job in own
    ]
    return QueueOut(data=data, waiting=found.waiting)
