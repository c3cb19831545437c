"""Queries on what is known of base models."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.shared.database.tables import InspectedModel, Json, now


def find(session: Session, name: str, revision: str) -> Json | None:
    row = session.get(InspectedModel, (name, revision))
    return None if row is None else row.facts


def keep(session: Session, name: str, revision: str, facts: Json) -> None:
    session.merge(InspectedModel(name=name, revision=revision, facts=facts, inspected_at=now()))
