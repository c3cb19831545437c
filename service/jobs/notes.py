"""What people change of a job: its name, tags, notes, group, priority, and whether others are compared with it.

Nothing of the training depends on them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from sqlalchemy import delete
from sqlalchemy.orm import Session

from adamss_core.spec.job import Priority
from service.http.context import Caller
from service.jobs.priorities import change_priority
from service.jobs.run_comparison import pin
from service.jobs.schemas import JobOut
from service.jobs.service import describe, get
from service.shared.database.tables import Job, JobTag

MOST_TAGS = 20
LINE = r"^[^\x00-\x1f\x7f]+$"
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40, pattern=LINE)]


class NotesIn(BaseModel):
    """What changes; fields that are left out stay as they are."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=120, pattern=LINE)] | None = None
    """A new name; null leaves the one that it has. The spec keeps the name that it was sent with."""
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS)] | None = None
    """All its tags, in the place of those before; null or an empty list removes them."""
    notes: Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")] | None = None
    """Any text; null or an empty one removes it."""
    group: Annotated[str, Field(min_length=1, max_length=120, pattern=LINE)] | None = None
    """The group that it belongs to, such as one experiment; null takes it out of its group."""
    baseline: bool | None = None
    """true: others of its group are compared with it, of the project where it is in no group, in the place of the one
    before; false: no more. Null changes nothing."""
    priority: Priority | None = None
    """A new priority of a job that waits; above 0 needs a key with the role admin. Null leaves the one that it has."""

    @field_validator("tags")
    @classmethod
    def _once(cls, tags: list[str] | None) -> list[str] | None:
        return None if tags is None else list(dict.fromkeys(tags))


def edit(caller: Caller, job_id: str, changes: NotesIn) -> JobOut:
    """Change what is given.

    Raises:
        NotFound: no such job exists in this project.
        Forbidden, Conflict: it may not have that priority, or waits no more.
    """
    given = changes.model_fields_set
    with caller.db.write() as session:
        job = get(session, caller, job_id, lock=True)
        if changes.name is not None:
            job.name = changes.name
        if changes.priority is not None:
            change_priority(session, caller, job, changes.priority)
        if "notes" in given:
            job.notes = changes.notes or None
        if "group" in given:
            job.group_name = changes.group
        if "tags" in given:
            _tag(session, job, changes.tags or [])
        session.flush()
        if changes.baseline is not None:
            pin(session, job, pinned=changes.baseline)
        return describe(session, caller, job)


def _tag(session: Session, job: Job, tags: list[str]) -> None:
    job.tags = tags or None
    session.execute(delete(JobTag).where(JobTag.job_id == job.id))
    session.add_all(JobTag(job_id=job.id, tag=tag, project_id=job.project_id) for tag in tags)
