"""Schemas of base models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from adamss_core.spec.job import MODEL_NAME, REVISION


class ModelSchema(BaseModel):
    """Base of the schemas; the docstring under a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class FetchProgressOut(ModelSchema):
    """Progress of a model that is fetched from the hub."""

    done_bytes: int
    """Bytes that are here."""
    total_bytes: int
    """Bytes of all its files."""


class ModelOut(ModelSchema):
    """A base model, for a job's `base_model`."""

    object: Literal["model"] = "model"
    """Always "model"."""
    name: str
    """Value for a job's `base_model`."""
    source: Literal["folder", "upload", "hub"] = "folder"
    """Origin: a folder that the operator put into the models folder, for all projects; or an upload to this project, or
    fetched for it from the hub."""
    status: Literal["ready", "fetching", "failed"] = "ready"
    """Whether jobs can use it: fetching while it comes from the hub, failed where it never came."""
    progress: FetchProgressOut | None = None
    """Progress while it is fetched."""
    model_type: str | None = None
    """Its architecture, such as bert."""
    parameters: int | None = None
    """Number of its parameters."""
    tasks: list[str] = []
    """Tasks it can be fine-tuned for."""
    default_targets: list[str] | None = None
    """Adapted modules if a job's `target_modules` is null; null if the job must name them."""
    max_length: int | None = None
    """Longest input, in tokens."""
    problem: str | None = None
    """Reason why the model cannot be used; null if it can."""
    size_bytes: int | None = None
    """Size of its files; null if they cannot be read."""
    hub_id: str | None = None
    """Id on the hub that it was fetched from."""
    revision: str | None = None
    """Commit on the hub that it was fetched at."""
    sha256: str | None = None
    """Hash over the names, sizes and hashes of its files: equal for equal models. Null for an operator's folder."""
    created_at: datetime | None = None
    """Time at which it was added; null for an operator's folder."""


class ModelFileOut(ModelSchema):
    """A file of an added model."""

    name: str
    """Its name."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Hash of its content."""


class UsedByOut(ModelSchema):
    """Jobs of this project that name a model."""

    unfinished: list[str]
    """Ids of the jobs that wait for it or run on it: the model cannot be deleted before they end."""
    finished: list[str]
    """Ids of the jobs whose adapter or LoRA needs it to predict: deleting it takes `force`."""


class ModelDetailOut(ModelOut):
    """A base model with its files and its users."""

    files: list[ModelFileOut] = []
    """Files of an added model; empty for an operator's folder."""
    used_by: UsedByOut = UsedByOut(unfinished=[], finished=[])
    """Jobs that name it."""
    left_out: list[str] = []
    """In the response to an upload: files of the archive that no model is loaded from, which are not kept; the first
    20."""


class HubModelIn(ModelSchema):
    """A model on the hub."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    hub_id: Annotated[str, Field(pattern=MODEL_NAME)]
    """Id on the hub, such as sentence-transformers/all-MiniLM-L6-v2."""
    revision: Annotated[str, Field(pattern=REVISION)] = "main"
    """A branch, a tag or a commit."""
