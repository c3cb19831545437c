"""Query jobs, data sets and the project as OpenAI's routes list them: by id of the entry before, in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.orm import Session

from adamss_core.spec.tasks.text_generation import NAME as TASK
from service.shared.database.tables import Artifact, Dataset, Job, JobStatus, MetricRow, Project

BLOCK = "openai"  # of a job's plan: what its creator sent beyond the spec


def project_name(session: Session, project_id: str) -> str:
    return session.get_one(Project, project_id).name


def list_datasets(
    session: Session, project_id: str, after: Dataset | None, limit: int, *, newest_first: bool
) -> Sequence[Dataset]:
    """List a page of the project's data sets.

    Args:
        after: the last one of the page before.
    """
    statement = select(Dataset).where(Dataset.project_id == project_id, Dataset.deleted_at.is_(None))
    return session.scalars(_page(statement, Dataset, after, limit, newest_first=newest_first)).all()


def list_jobs(
    session: Session, project_id: str, after: Job | None, limit: int, wanted: Sequence[ColumnElement[bool]] = ()
) -> Sequence[Job]:
    """List a page of the project's trainings of text generation, newest first.

    Args:
        after: the last one of the page before.
        wanted: further conditions.
    """
    statement = select(Job).where(Job.project_id == project_id, *trainings(), *wanted)
    return session.scalars(_page(statement, Job, after, limit, newest_first=True)).all()


def trainings() -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on jobs that train text generation."""
    return Job.evaluates.is_(None), Job.inspects.is_(None), Job.resolved[("spec", "task")].as_string() == TASK


def with_metadata(metadata: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Build the conditions on jobs that carry these values."""
    return [Job.resolved[BLOCK]["metadata"][key].as_string() == value for key, value in metadata.items()]


def with_model() -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on jobs whose model can be loaded."""
    published = select(Artifact.job_id).where(Artifact.name.in_(("adapter", "lora", "merged")))
    return Job.status.in_((JobStatus.SUCCEEDED, JobStatus.FAILED)), Job.id.in_(published)


def _page(statement: Select[Any], table: Any, after: Any, limit: int, *, newest_first: bool) -> Select[Any]:
    key = tuple_(table.created_at, table.id)
    if after is not None:
        place = tuple_(after.created_at, after.id)
        statement = statement.where(key < place if newest_first else key > place)
    order = (table.created_at.desc(), table.id.desc()) if newest_first else (table.created_at, table.id)
    return statement.order_by(*order).limit(limit)


def is_training(job: Job) -> bool:
    """Return whether a job trains text generation."""
    trains = job.evaluates is None and job.inspects is None
    return trains and (job.resolved.get("spec") or job.spec).get("task") == TASK


def losses_at(session: Session, job_id: str, steps: Sequence[int]) -> dict[int, float | None]:
    """Return the logged training losses of some steps; those that were archived are left out."""
    columns = select(MetricRow.step, MetricRow.loss)
    rows = columns.where(MetricRow.job_id == job_id, MetricRow.kind == "train", MetricRow.step.in_(steps))
    return dict(session.execute(rows).all())
