"""Queries on projects and their use of quotas."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.shared.database.tables import (
    LEASED,
    AddedModel,
    Artifact,
    Dataset,
    Job,
    JobStatus,
    ModelStatus,
    Project,
)


def find_by_name(session: Session, name: str) -> Project | None:
    return session.execute(select(Project).where(Project.name == name)).scalar_one_or_none()


def lock(session: Session, project_id: str) -> Project | None:
    """Lock a project until the transaction ends, so that concurrent requests count each other's additions."""
    statement = select(Project).where(Project.id == project_id).with_for_update(key_share=True)
    return session.execute(statement).scalar_one_or_none()


def list_all(session: Session) -> Sequence[Project]:
    return session.scalars(select(Project).order_by(Project.name)).all()


def count_jobs(session: Session, project_id: str, statuses: Sequence[JobStatus]) -> int:
    statement = select(func.count()).select_from(Job).where(Job.project_id == project_id, Job.status.in_(statuses))
    return session.execute(statement).scalar_one()


def count_devices(session: Session, project_id: str) -> int:
    """Count the devices that the project's jobs hold."""
    statement = select(func.coalesce(func.sum(Job.devices), 0)).where(
        Job.project_id == project_id, Job.status.in_(LEASED)
    )
    return int(session.execute(statement).scalar_one())


def used_bytes(session: Session, project_id: str) -> int:
    """Sum the sizes of a project's data sets, artifacts and added models."""
    datasets = select(func.coalesce(func.sum(Dataset.size_bytes), 0)).where(
        Dataset.project_id == project_id, Dataset.deleted_at.is_(None)
    )
    artifacts = (
        select(func.coalesce(func.sum(Artifact.size_bytes), 0))
        .join(Job, Job.id == Artifact.job_id)
        .where(Job.project_id == project_id)
    )
    models = select(func.coalesce(func.sum(AddedModel.size_bytes), 0)).where(
        AddedModel.project_id == project_id,
        AddedModel.deleted_at.is_(None),
        AddedModel.status != ModelStatus.FAILED,
    )
    return sum(int(session.execute(statement).scalar_one()) for statement in (datasets, artifacts, models))
