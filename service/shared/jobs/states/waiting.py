"""Select the queued job that may be claimed next: the rule of `service.shared.jobs.fleet_rule`, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Label,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    exists,
    func,
    join,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, aliased

from adamss_core.spec import SPEC_VERSION
from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, DeviceUse, Drain, Job, JobStatus, Project, Utc
from service.shared.jobs.device_use import HOUR, device_seconds, month_of
from service.shared.jobs.states.fitting import Fit

MOMENT: BindParameter[datetime] = bindparam("moment", type_=Utc())
FOUND: BindParameter[str] = bindparam("found", type_=String())


def may_run(moment: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on a job that needs only a worker of this version to run."""
    due = or_(Job.not_before.is_(None), Job.not_before <= moment)
    return Job.status == JobStatus.QUEUED, Job.spec_version <= SPEC_VERSION, due


def next_in_turn(
    session: Session,
    running_jobs: int | None = None,
    host: str | None = None,
    fit: Fit | None = None,
    *,
    lock_as: str | None = None,
) -> str | None:
    """Return the id of the job to claim next.

    Of the jobs of the highest priority that fit and that their projects' limits allow, it is one of the project with
    the lowest standing (what it has used lately, for its weight), and of that project's the oldest.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        host: where the job would run; there is none for a drained host.
        fit: the jobs that fit; others are passed over.
        lock_as: a job that was found before. It is returned if it still waits; else lower priorities are left out. The
            project of the returned job is locked until the transaction ends; a project that another claim has locked
            is passed over.
    """
    dialect = session.get_bind().dialect.name
    if lock_as is not None and session.execute(_still_waits(dialect), {"found": lock_as}).first() is not None:
        return lock_as  # one project was looked at, rather than all of them
    shape = None if fit is None else fit.shape
    values = turn_values(session, running_jobs) | {"host": host, "found": lock_as} | ({} if fit is None else fit.values)
    if lock_as is None and dialect != "sqlite":
        highest = _next(dialect, shape, on_host=host is not None, highest=True)
        if (found := session.execute(highest, values).scalar_one_or_none()) is not None:
            return found
    statement = _next(dialect, shape, on_host=host is not None, lock=lock_as is not None)
    return session.execute(statement, values).scalar_one_or_none()


@lru_cache(maxsize=256)  # of shapes: a worker has one for each number of its free devices
def _next(dialect: str, shape: Fit | None, *, on_host: bool, lock: bool = False, highest: bool = False) -> Select[str]:
    conditions = [] if shape is None else [shape.condition()]
    if lock:
        # Else a lower priority would start because a higher one is being claimed by others.
        found = aliased(Job)
        conditions.append(Job.rank <= select(found.rank).where(found.id == FOUND).scalar_subquery())
    statement = (_of_highest_priority(conditions) if highest else in_turn(dialect, conditions)).limit(1)
    if shape is not None:
        statement = statement.where(shape.any_waits())
    if on_host:
        statement = statement.where(not_(exists().where(Drain.host == bindparam("host", type_=String()))))
    return _locking(statement, dialect) if lock else statement


@lru_cache(maxsize=2)
def _still_waits(dialect: str) -> Select[str]:
    own = select(Project.id).join(Job, Job.project_id == Project.id)
    return _locking(own.where(Job.id == FOUND, Job.status == JobStatus.QUEUED), dialect)


def _locking(statement: Select[str], dialect: str) -> Select[str]:
    """Lock the project, but on SQLite, where one transaction writes at a time."""
    return statement if dialect == "sqlite" else statement.with_for_update(key_share=True, skip_locked=True, of=Project)


def turn_values(session: Session, running_jobs: int | None) -> dict[str, Any]:
    """Return the parameters of `in_turn` and `startable`.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
    """
    moment = database_now(session)
    return {"moment": moment, "month": month_of(moment), "running_jobs": running_jobs}


def in_turn(dialect: str, conditions: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Select the first job of each project that meets the conditions and the limits, in the order of claims; the
    parameters are `turn_values`."""
    running = _running()
    projects = join(Project, running, running.c.project_id == Project.id, isouter=True)
    waiting = _first_of(Project, conditions, running.c.devices).correlate(Project, running)
    # One probe of the index for each project, however many jobs wait or have ended.
    if dialect == "sqlite":
        probe = waiting.with_only_columns(Job.id).scalar_subquery()
        found = select(Job.id).select_from(projects.join(Job, Job.id == probe))
        found = found.order_by(Job.rank, Project.standing, Job.queued_at, Job.id)
    else:  # which would hash all jobs to join them with the found ones by their ids
        lateral = waiting.lateral("first")
        found = select(lateral.c.id).select_from(projects.join(lateral, true()))
        found = found.order_by(lateral.c.rank, Project.standing, lateral.c.queued_at, lateral.c.id)
    return found.where(_below_limits(running))


def _of_highest_priority(conditions: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Select as `in_turn` does, but among the jobs of the highest priority that waits: often there is none, and then a
    lower one is next.

    PostgreSQL then looks into the projects by their standing, and ends at the first with a job, or with the last of
    equal standing.
    """
    running = _running()
    joined = join(Project, running, running.c.project_id == Project.id, isouter=True)
    by_standing = select(Project, running.c.devices.label("devices")).select_from(joined)
    ordered = by_standing.where(_below_limits(running)).order_by(Project.standing).subquery("by_standing")
    project = aliased(Project, ordered)
    top = aliased(Job)
    highest = Job.rank == select(func.min(top.rank)).where(top.status == JobStatus.QUEUED).scalar_subquery()
    first = _first_of(project, (*conditions, highest), ordered.c.devices).correlate(ordered).lateral("first")
    return (
        select(first.c.id)
        .select_from(join(ordered, first, true()))
        .order_by(ordered.c.standing, first.c.queued_at, first.c.id)
    )


def _first_of(
    project: type[Project], conditions: Sequence[ColumnElement[bool]], held: ColumnElement[int | None]
) -> Select[str, int, datetime]:
    """Select the first job of a project that may start.

    Args:
        held: devices that the project's jobs hold; null where they hold none.
    """
    own = (Job.project_id == project.id, *may_run(MOMENT), *conditions, _has_devices(project, held))
    return select(Job.id, Job.rank, Job.queued_at).where(*own).order_by(Job.rank, Job.queued_at, Job.id).limit(1)


def startable(conditions: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Select all such jobs in the order of claims, where the conditions leave few."""
    running = _running()
    statement = select(Job.id).join(Project, Project.id == Job.project_id)
    return (
        statement.outerjoin(running, running.c.project_id == Project.id)
        .where(*may_run(MOMENT), *conditions, _has_devices(Project, running.c.devices), _below_limits(running))
        .order_by(Job.rank, Project.standing, Job.queued_at, Job.id)
    )


def _running() -> Subquery:
    """Count the jobs and the devices that each project's jobs hold."""
    held = aliased(Job)
    counted = select(held.project_id, *_counts(held)).where(held.status.in_(LEASED))
    return counted.group_by(held.project_id).subquery("running")


def _counts(held: type[Job]) -> tuple[Label[int], Label[int]]:
    return func.count().label("jobs"), func.coalesce(func.sum(held.devices), 0).label("devices")


def _has_devices(project: type[Project], held: ColumnElement[int | None]) -> ColumnElement[bool]:
    """Build the condition on project and job that the project may hold the devices of the job too."""
    limit = project.max_running_devices
    return or_(limit.is_(None), func.coalesce(held, 0) + Job.devices <= limit)


def _below_limits(running: Subquery) -> ColumnElement[bool]:
    """Build the condition on a project that it may start one more job."""
    limit = func.coalesce(Project.max_running_jobs, bindparam("running_jobs", type_=Integer()))
    used = select(func.coalesce(func.sum(DeviceUse.device_seconds), 0.0)).where(
        DeviceUse.project_id == Project.id, DeviceUse.month == bindparam("month", type_=String())
    )
    hours = Project.max_device_hours
    return and_(
        or_(limit.is_(None), func.coalesce(running.c.jobs, 0) < limit),
        or_(hours.is_(None), used.correlate(Project).scalar_subquery() < hours * HOUR),
    )


class LockedRoom(NamedTuple):
    """The project that a claim has locked, and the job as it was then.

    Attributes:
        attempt: the last of the job, 0 before the first; a job with a later one has been claimed by another.
    """

    project: Project
    attempt: int


def lock_room(session: Session, job_id: str, running_jobs: int | None, moment: datetime) -> LockedRoom | None:
    """Lock the job's project; its limits then allow the job until the transaction ends, or None is returned.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        moment: of the database's clock.
    """
    fresh = {"populate_existing": True}
    found = session.execute(_OWN_PROJECT, {"found": job_id}, execution_options=fresh).one_or_none()
    if found is None:
        return None
    project, devices, attempt = found
    most = running_jobs if project.max_running_jobs is None else project.max_running_jobs
    if most is not None or project.max_running_devices is not None:
        # A statement of its own: it sees what the transactions have written that held the lock before.
        held = session.execute(_HELD_BY_PROJECT, {"project": project.id}).one()
        if most is not None and held.jobs >= most:
            return None
        if project.max_running_devices is not None and held.devices + devices > project.max_running_devices:
            return None
    hours = project.max_device_hours
    if hours is not None and device_seconds(session, project.id, month_of(moment)) >= hours * HOUR:
        return None
    return LockedRoom(project, attempt)


_OWN_PROJECT = (
    select(Project, Job.devices, Job.attempt)
    .join(Job, Job.project_id == Project.id)
    .where(Job.id == FOUND)
    .with_for_update(key_share=True, of=Project)
)
_HELD_BY_PROJECT = select(*_counts(Job)).where(
    Job.project_id == bindparam("project", type_=String()), Job.status.in_(LEASED)
)


def is_drained(session: Session, host: str, *, of_running_jobs: bool = False) -> bool:
    """Tell whether a host starts nothing new.

    Args:
        of_running_jobs: whether its running jobs leave too.
    """
    drain = session.get(Drain, host)
    return drain is not None and (drain.move or not of_running_jobs)
