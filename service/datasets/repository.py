"""Queries for data sets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from service.shared.database.tables import Dataset


def find(session: Session, project_id: str, dataset_id: str, *, lock: bool = False) -> Dataset | None:
    dataset = session.get(Dataset, dataset_id, with_for_update=True if lock else None)
    if dataset is None or dataset.project_id != project_id or dataset.deleted_at is not None:
        return None
    return dataset


def find_source(session: Session, project_id: str, source: str) -> Dataset | None:
    """Find the newest data set of the project that was read from a file."""
    statement = select(Dataset).where(
        Dataset.project_id == project_id, Dataset.source == source, Dataset.deleted_at.is_(None)
    )
    return session.scalars(statement.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(1)).first()


def listed(project_id: str) -> Select[Dataset]:
    """Select the project's data sets."""
    return select(Dataset).where(Dataset.project_id == project_id, Dataset.deleted_at.is_(None))


def page(session: Session, project_id: str, after: tuple[datetime, str] | None, limit: int) -> Sequence[Dataset]:
    """List a page of the project's data sets, newest first."""
    statement = listed(project_id)
    if after is not None:
        statement = statement.where(tuple_(Dataset.created_at, Dataset.id) < after)
    return session.scalars(statement.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)).all()
