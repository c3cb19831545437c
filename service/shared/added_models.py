"""Base models that came through the API, as API and worker see them: which a name stands for, and which jobs use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import AddedModel, Artifact, Job, ModelStatus
from service.shared.jobs.job_queries import unfinished_naming
from service.shared.storage.home import Home


def find_added(session: Session, project_id: str, name: str, *, lock: bool = False) -> AddedModel | None:
    """Find the model that a project has added under a name."""
    statement = select(AddedModel).where(
        AddedModel.project_id == project_id, AddedModel.name == name, AddedModel.deleted_at.is_(None)
    )
    return session.execute(statement.with_for_update() if lock else statement).scalar_one_or_none()


def added_folder(session: Session, files: Home, project_id: str, name: str) -> Path | None:
    """Return the folder of the model that a project has added under a name, also on a host that lacks it; or None."""
    added = find_added(session, project_id, name)
    return files.added_model(added.id) if added is not None and added.status == ModelStatus.READY else None


def unfinished_users(session: Session, project_id: str, name: str) -> list[str]:
    """List the project's unfinished jobs on a base model."""
    return [job.id for job in unfinished_naming(session, project_id, name) if _base_of(job) == name]


def finished_users(session: Session, project_id: str, name: str) -> Sequence[str]:
    """List the project's jobs whose published adapter or LoRA needs a base model."""
    statement = (
        select(Job.id)
        .where(Job.project_id == project_id, Job.resolved[("spec", "base_model")].as_string() == name)
        .where(Job.id.in_(select(Artifact.job_id).where(Artifact.name.in_(("adapter", "lora")))))
        .order_by(Job.created_at, Job.id)
    )
    return session.scalars(statement).all()


def _base_of(job: Job) -> str | None:
    base: str | None = (job.resolved.get("spec") or job.spec).get("base_model")
    return base
