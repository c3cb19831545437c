"""Select the queued job that may be claimed next: the rule of `service.shared.jobs.fleet_rule`, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    ScalarSelect,
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
from service.shared.jobs.device_use import HOUR, month_of
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
    statement = _next(dialect, None if fit is None else fit.shape, on_host=host is not None, lock=lock_as is not None)
    values = turn_values(session, running_jobs) | {"host": host, "found": lock_as} | ({} if fit is None else fit.values)
    return session.execute(statement, values).scalar_one_or_none()


@lru_cache(maxsize=256)  # of shapes: a worker has one for each number of its free devices
def _next(dialect: str, shape: Fit | None, *, on_host: bool, lock: bool) -> Select[str]:
    conditions = [] if shape is None else [shape.condition()]
    if lock:
        # Else a lower priority would start because a higher one is being claimed by others.
        found = aliased(Job)
        conditions.append(Job.rank <= select(found.rank).where(found.id == FOUND).scalar_subquery())
    statement = in_turn(dialect, conditions).limit(1)
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


def turn_values(session: Session, running_jobs: int | None, moment: datetime | None = None) -> dict[str, Any]:
    """Return the parameters of `in_turn` and `startable`.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        moment: that was read from the database just now.
    """
    moment = moment or database_now(session)
    return {"moment": moment, "month": month_of(moment), "running_jobs": running_jobs}


def in_turn(dialect: str, conditions: Sequence[ColumnElement[bool]]) -> Select[str]:
    """Select the first job of each project that meets the conditions and the limits, in the order of claims; the
    parameters are `turn_values`."""
    running = _running()
    own = (Job.project_id == Project.id, *may_run(MOMENT), *conditions, _has_devices(running))
    order = (Job.rank, Job.queued_at, Job.id)
    waiting = select(Job.id, Job.rank, Job.queued_at).where(*own).order_by(*order).limit(1).correlate(Project, running)
    projects = join(Project, running, running.c.project_id == Project.id, isouter=True)
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


def startable(conditions: Sequence[ColumnElement[bool]], project: ScalarSelect[str] | None = None) -> Select[str]:
    """Select all such jobs in the order of claims, where the conditions leave few.

    Args:
        project: of all jobs that the conditions leave, where it is one: no other's running jobs are counted.
    """
    running = _running(project)
    statement = select(Job.id).join(Project, Project.id == Job.project_id)
    return (
        statement.outerjoin(running, running.c.project_id == Project.id)
        .where(*may_run(MOMENT), *conditions, _has_devices(running), _below_limits(running))
        .order_by(Job.rank, Project.standing, Job.queued_at, Job.id)
    )


def _running(project: ScalarSelect[str] | None = None) -> Subquery:
    """Count the jobs and the devices that each project's jobs hold, or one project's."""
    held = aliased(Job)
    counted = select(held.project_id, func.count().label("jobs"), func.sum(held.devices).label("devices"))
    counted = counted.where(held.status.in_(LEASED), *([] if project is None else [held.project_id == project]))
    return counted.group_by(held.project_id).subquery("running")


def _has_devices(running: Subquery) -> ColumnElement[bool]:
    """Build the condition on project and job that the project may hold the devices of the job too."""
    limit = Project.max_running_devices
    return or_(limit.is_(None), func.coalesce(running.c.devices, 0) + Job.devices <= limit)


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


def has_room(session: Session, job_id: str, running_jobs: int | None, moment: datetime) -> bool:
    """Lock the job's project, and return whether the job may start until the transaction ends.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        moment: of the database's clock.
    """
    project, job = _room()
    session.scalars(project, {"found": job_id}, execution_options={"populate_existing": True}).all()
    # A statement of its own: it sees what the transactions have written that held the lock before.
    return session.execute(job, {"found": job_id} | turn_values(session, running_jobs, moment)).first() is not None


@lru_cache(maxsize=1)
def _room() -> tuple[Select[Project], Select[str]]:
    project = select(Project).join(Job, Job.project_id == Project.id).where(Job.id == FOUND)
    own = aliased(Job)
    its = select(own.project_id).where(own.id == FOUND).scalar_subquery()
    return project.with_for_update(key_share=True, of=Project), startable((Job.id == FOUND,), its)


def is_drained(session: Session, host: str, *, of_running_jobs: bool = False) -> bool:
    """Tell whether a host starts nothing new.

    Args:
        of_running_jobs: whether its running jobs leave too.
    """
    drain = session.get(Drain, host)
    return drain is not None and (drain.move or not of_running_jobs)
