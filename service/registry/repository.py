"""Query registered models, their versions and labels."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.shared.database.tables import ModelLabel, ModelVersion, RegisteredModel


def list_models(session: Session, project_id: str) -> Sequence[RegisteredModel]:
    statement = select(RegisteredModel).where(RegisteredModel.project_id == project_id)
    return session.scalars(statement.order_by(RegisteredModel.name)).all()


def find(session: Session, project_id: str, name: str, *, lock: bool = False) -> RegisteredModel | None:
    same = RegisteredModel.project_id == project_id, RegisteredModel.name == name
    statement = select(RegisteredModel).where(*same)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def versions(session: Session, model_id: str) -> Sequence[ModelVersion]:
    """List the versions of a model, newest first."""
    statement = select(ModelVersion).where(ModelVersion.model_id == model_id)
    return session.scalars(statement.order_by(ModelVersion.version.desc())).all()


def version(session: Session, model_id: str, number: int) -> ModelVersion | None:
    return session.get(ModelVersion, (model_id, number))


def version_of_job(session: Session, model_id: str, job_id: str) -> ModelVersion | None:
    statement = select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.job_id == job_id)
    return session.scalars(statement).one_or_none()


def label(session: Session, model_id: str, name: str) -> ModelLabel | None:
    return session.get(ModelLabel, (model_id, name))


def remove(session: Session, model: RegisteredModel) -> None:
    """Delete a model with its labels; its versions are withdrawn before."""
    session.execute(delete(ModelLabel).where(ModelLabel.model_id == model.id))
    session.delete(model)
