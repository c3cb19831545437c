"""Select the queued job that may be claimed next."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from adamss_core.spec import SPEC_VERSION
from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, Drain, Job, JobStatus, Project, now

FULL_SECONDS = 10.0  # delay of the jobs of a project that runs as many as it may


def may_run(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on a job that needs only a worker of this version to run."""
    due = or_(Job.not_before.is_(None), Job.not_before <= moment)
    return Job.status == JobStatus.QUEUED, Job.spec_version <= SPEC_VERSION, due


def next_in_turn(
    session: Session,
    running_jobs: int | None = None,
    host: str | None = None,
    fit: ColumnElement[bool] | None = None,
) -> str | None:
    """Return the id of the job to claim next: of the highest priority, the longest waiting job of the project in turn.

    The turn is the project's whose last start is longest ago; a project at its limit of running jobs has none.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
        host: where the job would run; there is none for a drained host.
        fit: condition on the job, as `fits` builds it; others that do not fit are passed over.
    """
    if host is not None and is_drained(session, host):
        return None
    own = Job.project_id == Project.id
    conditions = (own, *may_run(database_now(session)), *(() if fit is None else (fit,)))
    waiting = select(Job.id).where(*conditions).order_by(Job.rank, Job.queued_at, Job.id).limit(1)
    running = select(func.count()).select_from(Job).where(own, Job.status.in_(LEASED)).correlate(Project)
    limit = func.coalesce(Project.max_running_jobs, running_jobs)
    first = waiting.correlate(Project).scalar_subquery()
    # One probe of the index for each project, however many jobs wait or have ended.
    statement = (
        select(Job.id)
        .select_from(Project)
        .join(Job, Job.id == first)
        .where(or_(limit.is_(None), running.scalar_subquery() < limit))
        .order_by(Job.rank, Project.last_turn, Job.queued_at)
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def is_drained(session: Session, host: str, *, of_running_jobs: bool = False) -> bool:
    """Tell whether a host starts nothing new.

    Args:
        of_running_jobs: whether its running jobs leave too.
    """
    drain = session.get(Drain, host)
    return drain is not None and (drain.move or not of_running_jobs)


def take_turn(session: Session, project_id: str) -> None:
    """Put the project behind all others: it has just started a job.

    A count instead of a time: no clock that was wrong for a while can hold a project back.
    """
    last = select(func.max(Project.last_turn)).scalar_subquery()
    turn = update(Project).where(Project.id == project_id).values(last_turn=last + 1)
    session.execute(turn.execution_options(synchronize_session=False))


def take_room_or_delay(session: Session, job_id: str, running_jobs: int | None) -> bool:
    """Lock the job's project, and return whether it may run one more job until the transaction ends.

    If not, delay all jobs that it has waiting, so that workers turn to other projects' jobs.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
    """
    statement = select(Project).join(Job, Job.project_id == Project.id).where(Job.id == job_id)
    project = session.scalars(statement.with_for_update(key_share=True, of=Project)).one_or_none()
    limit = running_jobs if project is None or project.max_running_jobs is None else project.max_running_jobs
    if project is None or limit is None:
        return True
    own = Job.project_id == project.id
    running = session.execute(select(func.count()).select_from(Job).where(own, Job.status.in_(LEASED))).scalar_one()
    if running < limit:
        return True
    later = database_now(session) + timedelta(seconds=FULL_SECONDS)
    queued = update(Job).where(own, Job.status == JobStatus.QUEUED, func.coalesce(Job.not_before, now()) < later)
    session.execute(queued.values(not_before=later).execution_options(synchronize_session=False))
    return False
