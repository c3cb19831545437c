"""Presets, as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

from adamss_core.spec.adamss import field_error
from adamss_core.spec.job import MAX_PRESET_NAME, PRESET_NAME
from adamss_core.spec.tasks import DEFAULT_TASK, TaskName
from service.http.openapi import Out

MOST_FIELDS = 60
FieldPath = Annotated[str, StringConstraints(max_length=100, pattern=r"^(adamss|training)\.[a-z0-9_]+$")]


class PresetIn(BaseModel):
    """A preset of the project's own: from a job, from a trial of a sweep, or of given fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=MAX_PRESET_NAME, pattern=PRESET_NAME)]
    """The name by which specs choose it."""
    job: Annotated[str, Field(max_length=60)] | None = None
    """Take the fields of `adamss` and `training` that this job's spec sets, but for the seed."""
    sweep: Annotated[str, Field(max_length=60)] | None = None
    """Take those of a trial of this sweep."""
    trial: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None
    """Number of the sweep's trial; by default the best one."""
    fields: Annotated[dict[FieldPath, Any], Field(min_length=1, max_length=MOST_FIELDS)] | None = None
    """Values by the paths of their fields, such as {"training.learning_rate": 0.008}."""
    task: TaskName = DEFAULT_TASK
    """The task that given `fields` are for; of a job or a trial it is that one's."""
    replace: bool = False
    """Replace a preset of the project's that has the name already."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.job, self.sweep, self.fields)) != 1:
            raise field_error("job", "must be given, or sweep, or fields: exactly one of the three")
        if self.trial is not None and self.sweep is None:
            raise field_error("trial", "is a number of a sweep's trial: give sweep, too")
        return self


class PresetOut(Out):
    """Good values under a name: of a kind of job, or of the project's own."""

    name: str
    """Its name: `preset` of a job chooses it, and so does `adamss init --task` one of a kind of job."""
    task: str
    """The job's `task`."""
    problem_type: str | None
    """The job's `problem_type`; null in a project's own, which are for all of the task."""
    dataset: dict[str, Any]
    """Columns, under the names that are most common; empty in a project's own."""
    adamss: dict[str, Any]
    """Fields of the job's `adamss`."""
    training: dict[str, Any]
    """Fields of the job's `training`. A job takes those of its kind that it leaves out."""
    reason: str
    """Origin of the values."""
    own: bool
    """True for the project's own, which can be replaced and deleted."""
    job: str | None
    """The job that the values are from, which may be deleted since."""
    created_at: datetime | None
    """When it was saved; null for those of a kind of job."""
