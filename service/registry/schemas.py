"""Registered models, as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adamss_core.spec.job import WEBHOOK
from service.http.openapi import Out
from service.jobs.schemas import BestMetricOut

LIVE = "live"  # the label that a name alone stands for
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MAX_NAME = 80
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9][A-Za-z0-9._-]*)?$"
Label = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Url = Annotated[str, Field(pattern=WEBHOOK, max_length=500)]


class PublishVersionIn(BaseModel):
    """A job whose model becomes the next version."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    job: str = Field(max_length=60)
    """Id of a job that has succeeded."""
    labels: Annotated[list[Label], Field(max_length=10)] = [LIVE]
    """Stage labels that name the new version from now on; `live` is the version that the name alone stands for."""


class RegisteredModelIn(BaseModel):
    """Settings of a registered model."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    webhook: Url | None
    """URL that receives every change of versions and labels, signed as webhooks of jobs are; null ends that."""


class LabelIn(BaseModel):
    """A label and the version that it names from now on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    label: Label
    """A stage label, such as staging or live."""
    version: Number | None
    """The version; null removes the label."""


class RollbackIn(BaseModel):
    """A label to put back."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    label: Label = LIVE
    """The label that names the version before again."""


class VersionMetricOut(BestMetricOut):
    """The metric that chose the job's checkpoint."""

    value: float | None
    """Its value on the held-out rows; null where it is undefined."""


class VersionOut(Out):
    """A version of a registered model."""

    version: int
    """Its number; numbers are never used again."""
    job: str
    """The job that trained it. Its artifacts are kept as long as the version."""
    labels: list[str]
    """Stage labels that name it."""
    artifacts: dict[str, str]
    """The job's artifacts with their sha256."""
    metric: VersionMetricOut | None
    """The job's metric; null where it was not measured."""
    datasets: list[str]
    """The data sets that it was trained and measured on."""
    created_at: datetime
    """When it was published."""


class RegisteredModelOut(Out):
    """A name under which versions of a trained model are served."""

    object: Literal["registered_model"] = "registered_model"
    """Always "registered_model"."""
    name: str
    """Its name, for predictions and chats: `name`, `name@label` or `name@version`."""
    task: str | None
    """Task of its newest version."""
    labels: dict[str, int]
    """Stage labels with the versions that they name."""
    previous: dict[str, int]
    """Labels that a rollback would change, with the versions that they would name."""
    webhook: str | None
    """URL that receives its changes."""
    versions: list[VersionOut]
    """Its versions, newest first."""
    created_at: datetime
    """When its first version was published."""
