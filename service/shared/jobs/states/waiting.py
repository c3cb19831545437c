"""Select the queued jobs that may be claimed, and decide when a worker is woken for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import LEASED, Job, JobStatus, Project, now

FULL_SECONDS = 10.0  # delay of the jobs of a project that runs as many as it may


def may_run(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on a job that needs only a worker to run."""
    return Job.status == JobStatus.QUEUED, or_(Job.not_before.is_(None), Job.not_before <= moment)


def next_in_turn(session: Session, running_jobs: int | None = None) -> str | None:
    """Return the id of the job to claim next: the projects take turns, and each turn takes the longest waiting job.

    The turn is the project's whose last start is longest ago; a project at its limit of running jobs has none.

    Args:
        running_jobs: the limit of a project without a limit of its own; None is no limit.
    """
    own = Job.project_id == Project.id
    waiting = select(Job.id).where(own, *may_run(database_now(session))).order_by(Job.queued_at).limit(1)
    running = select(func.count()).select_from(Job).where(own, Job.status.in_(LEASED)).correlate(Project)
    limit = func.coalesce(Project.max_running_jobs, running_jobs)
    first = waiting.correlate(Project).scalar_subquery()
    # One probe of the index for each project, however many jobs wait or have ended.
    statement = (
        select(Job.id)
        .select_from(Project)
        .join(Job, Job.id == first)
        .where(or_(limit.is_(None), running.scalar_subquery() < limit))
        .order_by(Project.last_turn, Job.queued_at)
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def take_turn(session: Session, project_id: str) -> None:
    """Put the project behind all others: it has just started a job.

    A count instead of a time: no clock that was wrong for a while can hold a project back.
    """
    last = select(func.max(Project.last_turn)).scalar_subquery()
    turn = update(Project).where(Project.id == project_id).values(last_turn=last + 1)
    session.execute(turn.execution_options(synchronize_session=False))


def waiting_for_hint(session: Session, hint_seconds: float, limit: int) -> tuple[datetime, Sequence[str]]:
    """Return the moment of the look, and the longest waiting jobs whose last hint, if any, seems to be lost.

    Args:
        hint_seconds: age from which a hint counts as lost.
    """
    moment = database_now(session)
    statement = select(Job.id).where(*_unhinted(moment, hint_seconds)).order_by(Job.queued_at).limit(limit)
    return moment, session.scalars(statement).all()


def take_hint(session: Session, job_id: str, moment: datetime, hint_seconds: float) -> bool:
    """Record that a hint is sent now; False if the job no longer needs one, as when another sweeper was faster."""
    statement = update(Job).where(Job.id == job_id, *_unhinted(moment, hint_seconds)).values(hinted_at=moment)
    return session.execute(statement.returning(Job.id)).first() is not None


def take_room_or_delay(session: Session, job_id: str, running_jobs: int | None) -> bool:
    """Lock the job's project, and return whether it may run one more job until the transaction ends.

    If not, delay all jobs that it has waiting, so that sweepers turn to other projects' jobs.

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


def _unhinted(moment: datetime, hint_seconds: float) -> tuple[ColumnElement[bool], ...]:
    lost = moment - timedelta(seconds=hint_seconds)
    delay_is_over = and_(Job.not_before.is_not(None), Job.hinted_at < Job.not_before)
    return *may_run(moment), or_(Job.hinted_at.is_(None), Job.hinted_at <= lost, delay_is_over)
