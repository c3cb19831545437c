"""Keep places for jobs that have waited for long, and pause jobs for a higher priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, String, bindparam, exists, not_, or_, select
from sqlalchemy.orm import Session, aliased

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, Job, JobStatus, Worker, now
from service.shared.jobs.device_rows import DeviceState, HasDevices
from service.shared.jobs.fleet_rule import FleetWorker, HeldJob, QueuedJob, jobs_to_pause
from service.shared.jobs.fleet_state import as_queued, read_running, read_workers
from service.shared.jobs.states.fitting import Fit, Needs, choose, fits, openings, suits
from service.shared.jobs.states.record import add_event, compare_and_set, with_status
from service.shared.jobs.states.waiting import in_turn, startable, turn_values


@dataclass(frozen=True)
class Places(HasDevices):
    """A worker's devices, and what decides who gets them.

    Attributes:
        devices: all of the worker's, with who holds each.
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        live_seconds: for which a worker lives after its last sign.
    """

    worker: str
    devices: Sequence[DeviceState]
    running_jobs: int | None = None
    live_seconds: float = 60.0


def fits_now(session: Session, places: Places) -> Fit:
    """Return which jobs the worker's free devices fit, but for those that are kept for another."""
    kept = _kept(session, places)
    if kept is None:
        return Fit(openings(places.free))
    needs = Needs(kept.devices, kept.device_kind, kept.device_memory)
    others = [device for device in places.free if not suits(device, needs)]
    return Fit(openings(others), openings(places.free), (kept.id, kept.rank), needs)


def _kept(session: Session, places: Places) -> Job | None:
    """Return the job that the worker keeps places for, if it may start."""
    if session.execute(_KEPT, {"worker": places.worker}).first() is None:
        return None  # as nearly always, by one probe of an index
    return _first(session, places, (Job.reserved_for == places.worker,))


_KEPT = select(Job.id).where(Job.reserved_for == bindparam("worker", type_=String())).limit(1)


def _first(session: Session, places: Places, conditions: Sequence[ColumnElement[bool]]) -> Job | None:
    statement = startable(conditions).limit(1).with_only_columns(Job)
    return session.scalars(statement, turn_values(session, places.running_jobs)).one_or_none()


def is_wanted(session: Session, places: Places) -> bool:
    """Tell whether `make_room` or `keep_places` may have anything to do, without a transaction that others wait for."""
    several = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.devices > 1).limit(1)
    if len(places.devices) > 1 and session.execute(several).first() is not None:
        return True
    return _above(session, places, read_running(session, places.worker), set()) is not None


def keep_places(session: Session, places: Places, seconds: float) -> str | None:
    """Begin to keep places for a job that has waited for so many seconds, and return its id.

    It is the first that takes several devices, as smaller ones pass only such a job, and that fits the worker's devices
    but not the free ones. A worker keeps places for one job at a time.
    """
    if len(places.devices) < 2 or _kept(session, places) is not None:
        return None
    starving = (
        Job.devices > 1,
        Job.queued_at <= now() - timedelta(seconds=seconds),
        _unplaced(session, places.live_seconds),
        not_(fits(places.free)),
        fits(places.emptied),
    )
    job = _first(session, places, starving)
    if job is None:
        return None
    _keep_for(session, job.id, places.worker)
    return job.id


def _unplaced(session: Session, live_seconds: float) -> ColumnElement[bool]:
    """Build the condition on a job that no live worker keeps places for it."""
    since = database_now(session) - timedelta(seconds=live_seconds)
    live = exists().where(Worker.id == Job.reserved_for, Worker.seen_at >= since)
    return or_(Job.reserved_for.is_(None), not_(live))


def _keep_for(session: Session, job_id: str, worker: str) -> None:
    kept = with_status(job_id, JobStatus.QUEUED).values(reserved_for=worker)
    compare_and_set(session, kept)


def make_room(session: Session, places: Places) -> list[str]:
    """Ask running jobs of the worker to pause for waiting ones of a higher priority; return the ids of the asked.

    A job that fits some live worker's free devices asks nobody, nor does one for which others pause already.
    """
    worker, asked, seen = FleetWorker(places.worker, tuple(places.devices)), [], set[str]()
    for _ in places.devices:
        running = read_running(session, places.worker)
        job = _above(session, places, running, seen)
        if job is None:
            break
        seen.add(job.id)
        leaving = [] if _fits_somewhere(session, places, job) else jobs_to_pause(job, worker, running)
        if leaving and _lock_waiting(session, job.id):
            _keep_for(session, job.id, places.worker)
            asked += [one.id for one in leaving if _ask(session, one.id, job.id)]
    return asked


def _above(session: Session, places: Places, running: Sequence[HeldJob], seen: set[str]) -> QueuedJob | None:
    """Return the first waiting job for which a running one may pause."""
    ranks = [one.rank for one in running if one.preemptible and one.pauses_for is None]
    if not ranks:
        return None
    higher = (Job.rank < max(ranks), Job.status == JobStatus.QUEUED)
    if session.execute(select(Job.id).where(*higher).limit(1)).first() is None:
        return None
    conditions = (higher[0], fits(places.emptied), not_(_has_asked()), Job.id.not_in(seen))
    statement = in_turn(session.get_bind().dialect.name, conditions).limit(1)
    found = session.execute(statement, turn_values(session, places.running_jobs)).scalar_one_or_none()
    return None if found is None else as_queued(session.get_one(Job, found))


def _has_asked() -> ColumnElement[bool]:
    """Build the condition on a job that others pause for it."""
    held = aliased(Job)
    return exists().where(held.preempted_by == Job.id, held.status.in_(LEASED))


def _fits_somewhere(session: Session, places: Places, job: QueuedJob) -> bool:
    """Tell whether a live worker could take the job as it is."""
    return any(
        worker.slots > 0 and not worker.drained and choose(worker.free, job.needs) is not None
        for worker in read_workers(session, places.live_seconds)
    )


def _lock_waiting(session: Session, job_id: str) -> bool:
    """Lock a waiting job, so that one worker alone makes room for it."""
    own = (Job.id == job_id, Job.status == JobStatus.QUEUED)
    if session.execute(select(Job.id).where(*own).with_for_update(skip_locked=True)).first() is None:
        return False
    return session.execute(select(Job.id).where(*own, not_(_has_asked()))).first() is not None


def _ask(session: Session, job_id: str, for_job: str) -> bool:
    """Ask a running job to pause for another; it is queued again uncharged."""
    own = (Job.id == job_id, Job.status == JobStatus.RUNNING, Job.preempted_by.is_(None))
    job = session.scalars(select(Job).where(*own).with_for_update()).one_or_none()
    if job is None:
        return False
    job.preempted_by = for_job
    add_event(
        session, job, "preempting", "It pauses at its next step: a job of a higher priority takes its devices.", {}
    )
    return True
