"""Types of the API's JSON about base models and registered ones. Newer servers may add keys."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from service.client.types import BestMetricJson


class SpectrumJson(TypedDict):
    """The spectrum of a base model; `report` once its status is ready."""

    status: Literal["ready", "measuring"]
    model: str
    dataset: str | None
    job: str | None
    report: dict[str, Any] | None
    measured_at: str | None


class ModelFileJson(TypedDict):
    """A file of an added base model."""

    name: str
    size_bytes: int
    sha256: str


class BaseModelJson(TypedDict):
    """A base model; files and users in the answers about one."""

    name: str
    model_type: str | None
    parameters: int | None
    tasks: list[str]
    default_targets: list[str] | None
    max_length: int | None
    problem: str | None
    source: NotRequired[Literal["folder", "upload", "hub"]]  # absent from services before 0.3, as is the rest
    status: Literal["ready", "fetching", "failed"]
    progress: dict[str, int] | None
    size_bytes: NotRequired[int | None]
    hub_id: NotRequired[str | None]
    revision: NotRequired[str | None]
    sha256: NotRequired[str | None]
    created_at: NotRequired[str | None]
    files: list[ModelFileJson]
    used_by: dict[str, list[str]]
    left_out: NotRequired[list[str]]
    created: NotRequired[bool]  # after adding: false where the project had this very model


class VersionMetricJson(BestMetricJson):
    """Metric that chose the checkpoint of a version's job, with its value."""

    value: float | None


class VersionJson(TypedDict):
    """A version of a registered model."""

    version: int
    job: str
    labels: list[str]
    artifacts: dict[str, str]
    metric: VersionMetricJson | None
    datasets: list[str]
    created_at: str


class RegisteredModelJson(TypedDict):
    """A name under which versions of a trained model are served; versions newest first."""

    name: str
    task: str | None
    labels: dict[str, int]
    previous: dict[str, int]
    webhook: str | None
    versions: list[VersionJson]
    created_at: str
