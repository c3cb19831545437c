"""Query jobs for several domains."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Session

from service.shared.database.tables import UNFINISHED, Artifact, Job, JobStatus


def unfinished_naming(session: Session, project_id: str, identity: str) -> Sequence[Job]:
    """List the project's unfinished jobs whose spec or plan mentions an id anywhere; the caller looks where it stands.

    The database searches the texts: a project may have a thousand jobs waiting, of 3 kB each.
    """
    texts = (Job.evaluates, cast(Job.spec, Text), cast(Job.resolved, Text))
    mentioned = or_(*(text.contains(identity, autoescape=True) for text in texts))
    return session.scalars(select(Job).where(Job.project_id == project_id, Job.status.in_(UNFINISHED), mentioned)).all()


def has_published(job: Job) -> bool:
    """Return whether the job has ended with a model: also one that its time limit ended, or of which an artifact
    failed."""
    return job.status == JobStatus.SUCCEEDED or (job.status == JobStatus.FAILED and job.result is not None)


def model_artifact(session: Session, job_id: str) -> Artifact | None:
    """Return the artifact to evaluate a job's model from: the adapter, if it is kept, as the run did."""
    found = (session.get(Artifact, (job_id, name)) for name in ("adapter", "lora", "merged"))
    return next((artifact for artifact in found if artifact is not None), None)
