"""Versions of registered models, for all who must keep a registered job's artifacts: deletion, retention, registry."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import ModelLabel, ModelVersion, RegisteredModel
from service.shared.errors import Conflict
from service.shared.jobs.webhooks import deliver


def registered_as(session: Session, job_id: str) -> list[str]:
    """List the versions that are made of a job, as name@version."""
    statement = (
        select(RegisteredModel.name, ModelVersion.version)
        .join(ModelVersion, ModelVersion.model_id == RegisteredModel.id)
        .where(ModelVersion.job_id == job_id)
        .order_by(RegisteredModel.name, ModelVersion.version)
    )
    return [f"{name}@{version}" for name, version in session.execute(statement)]


def require_unregistered(session: Session, job_id: str, remedy: str) -> None:
    """Raise Conflict if a version of a registered model is made of the job."""
    if names := registered_as(session, job_id):
        raise Conflict(
            f"The job's model is registered as {', '.join(names)}. {remedy}", code="job_registered", param="force"
        )


def withdraw_all(session: Session, job_id: str) -> None:
    """Remove every version that is made of a job."""
    for version in session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).all():
        model = session.get_one(RegisteredModel, version.model_id, with_for_update=True)
        withdraw(session, model, version)


def withdraw(session: Session, model: RegisteredModel, version: ModelVersion) -> None:
    """Remove a version of a locked model; its labels name the version before, or are removed."""
    for label in labels_of(session, model.id):
        left = [number for number in label.history if number != version.version]
        label.history = [number for number, _ in groupby(left)]  # of equal neighbours one: the way back leads elsewhere
        if not label.history:
            session.delete(label)
    session.delete(version)
    session.flush()
    announce_change(session, model, version, "withdrawn", None)


def labels_of(session: Session, model_id: str) -> Sequence[ModelLabel]:
    statement = select(ModelLabel).where(ModelLabel.model_id == model_id).order_by(ModelLabel.label)
    return session.scalars(statement).all()


def announce_change(
    session: Session, model: RegisteredModel, version: ModelVersion, change: str, label: str | None
) -> None:
    """Queue the model's webhook, if it has one.

    Args:
        change: published, labelled, rolled_back or withdrawn.
        label: the label that was moved.
    """
    if model.webhook is None:
        return
    data = {
        "name": model.name,
        "version": version.version,
        "job": version.job_id,
        "label": label,
        "labels": {row.label: row.history[-1] for row in labels_of(session, model.id)},
    }
    deliver(session, model.webhook, version.job_id, f"model.{change}", data)
