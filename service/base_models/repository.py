"""Queries on base models: facts of inspected ones, and those that came through the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.shared.database.tables import AddedModel, InspectedModel, Json, ModelStatus, now


def find(session: Session, name: str, revision: str) -> Json | None:
    """Find the facts of a model's revision, or of a folder's version."""
    row = session.get(InspectedModel, (name, revision))
    return None if row is None else row.facts


def keep(session: Session, name: str, revision: str, facts: Json) -> None:
    """Store facts, in place of older ones of the same revision."""
    session.merge(InspectedModel(name=name, revision=revision, facts=facts, inspected_at=now()))


def added_to(session: Session, project_id: str) -> Sequence[AddedModel]:
    """List the models that a project has added."""
    present = select(AddedModel).where(AddedModel.project_id == project_id, AddedModel.deleted_at.is_(None))
    return session.scalars(present.order_by(AddedModel.name)).all()


def deleted_at(session: Session, project_id: str, name: str) -> datetime | None:
    """Return when the project's last model of a name was deleted."""
    statement = select(AddedModel.deleted_at).where(
        AddedModel.project_id == project_id,
        AddedModel.name == name,
        AddedModel.status == ModelStatus.READY,
        AddedModel.deleted_at.is_not(None),
    )
    return session.scalars(statement.order_by(AddedModel.deleted_at.desc()).limit(1)).first()


def change_fetched(session: Session, model_id: str, **values: object) -> bool:
    """Change a model that is being fetched; return whether it still is."""
    statement = update(AddedModel).where(
        AddedModel.id == model_id, AddedModel.status == ModelStatus.FETCHING, AddedModel.deleted_at.is_(None)
    )
    return bool(session.execute(statement.values(**values)).rowcount)  # type: ignore[attr-defined]
