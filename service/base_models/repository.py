"""Queries on the facts of inspected base models."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.shared.database.tables import InspectedModel, Json, now


def find(session: Session, name: str, revision: str) -> Json | None:
    """Find the facts of a model's revision, or of a folder's version."""
    row = session.get(InspectedModel, (name, revision))
    return None if row is None else row.facts


def keep(session: Session, name: str, revision: str, facts: Json) -> None:
    """Store facts, in place of older ones of the same revision."""
    session.merge(InspectedModel(name=name, revision=revision, facts=facts, inspected_at=now()))
