"""Query spectra, and the jobs that measure them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import TERMINAL, Job, Spectrum


def find(session: Session, key: str) -> Spectrum | None:
    return session.get(Spectrum, key)


def newest(session: Session, model: str, revision: str, dataset_id: str) -> Spectrum | None:
    """Find the latest spectrum of a model's version on a data set, whichever its columns."""
    statement = select(Spectrum).where(
        Spectrum.model == model, Spectrum.revision == revision, Spectrum.dataset_id == dataset_id
    )
    return session.scalars(statement.order_by(Spectrum.measured_at.desc()).limit(1)).one_or_none()


def measuring(session: Session, project_id: str, key: str) -> Job | None:
    """Find the project's job that measures a spectrum and has not ended."""
    statement = select(Job).where(Job.project_id == project_id, Job.inspects == key, Job.status.not_in(TERMINAL))
    return session.scalars(statement.order_by(Job.created_at).limit(1)).one_or_none()


def keep(session: Session, spectrum: Spectrum) -> None:
    """Store a spectrum, in place of an older one of the same key."""
    session.merge(spectrum)
