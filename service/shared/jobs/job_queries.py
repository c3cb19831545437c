"""Query jobs for several domains."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.shared.database.tables import TERMINAL, Artifact, Job


def unfinished_jobs(session: Session, project_id: str) -> Sequence[Job]:
    """List the project's unfinished jobs: they may still read their data sets and the adapter they start from."""
    return session.scalars(select(Job).where(Job.project_id == project_id, Job.status.not_in(TERMINAL))).all()


def model_artifact(session: Session, job_id: str) -> Artifact | None:
    """Return the artifact to evaluate a job's model from: the adapter, if it is kept, as the run did."""
    found = (session.get(Artifact, (job_id, name)) for name in ("adapter", "lora", "merged"))
    return next((artifact for artifact in found if artifact is not None), None)
