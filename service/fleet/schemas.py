"""Workers, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.http.openapi import Out


class RunningOut(Out):
    """A job that a worker runs."""

    id: str | None
    """Its id; null for a job of another project."""
    name: str | None
    """Its name; null for a job of another project."""


class DeviceOut(Out):
    """A device that a worker trains on."""

    name: str
    """Its name, such as cuda:0, cpu:1 or, for a slice of MIG, cuda:0/1."""
    kind: str | None = None
    """Its kind, as `resources.kind` of a job names it, such as h100 or cpu; null from a worker of an older version."""
    memory_bytes: int | None = None
    """Its memory; of a CPU its share of the RAM. Null if unknown."""
    free_bytes: int | None = None
    """Memory that a job may take, as it was when nobody held the device last; null if unknown."""
    free: bool = True
    """Whether nobody holds it."""
    job: RunningOut | None = None
    """The job that has it alone; null where there is none."""
    most_jobs: int = 1
    """Number of jobs that may share it (ADAMSS_JOBS_PER_DEVICE)."""
    jobs: list[RunningOut] = Field(default_factory=list)
    """The jobs that share it."""
    left_bytes: int | None = None
    """Memory that one more job may take beside those that share it; null where none do."""


class WorkerOut(Out):
    """A worker that has renewed its row within the lease time."""

    object: Literal["worker"] = "worker"
    """Always "worker"."""
    id: str
    """Its id, as events of jobs name it."""
    host: str
    """The machine that it runs on, as that names itself."""
    pid: int
    """Number of its process there."""
    devices: list[DeviceOut]
    """What it trains on, and which job has which. Workers of one host may share devices."""
    kind: Literal["cpu", "cuda"] | None = None
    """The kind of its devices; null where it did not say."""
    memory_bytes: int | None = None
    """Memory of its smallest GPU, or the RAM that was free at its start; null if unknown."""
    bf16: bool = False
    """Whether its devices compute in bf16."""
    quantization: bool = False
    """Whether it can train on quantised bases."""
    slots: int | None = None
    """How many jobs it runs at a time; null where it did not say."""
    free: int | None = None
    """How many more jobs of one device it could start; null where it did not say."""
    jobs: list[RunningOut]
    """The jobs that it runs."""
    drained: bool
    """Whether it starts nothing new, because its host is drained."""
    spec_version: int
    """Newest version of the spec that it understands."""
    started_at: datetime
    """When it started."""
    seen_at: datetime
    """When it last renewed its row."""


class DrainOut(Out):
    """A host whose workers start nothing new."""

    host: str
    """The host."""
    move: bool
    """Whether its running jobs are moved: each writes a checkpoint and waits for another worker."""
    since: datetime
    """When it was drained."""


class WorkersOut(Out):
    """The workers that live, and the hosts that are drained."""

    object: Literal["list"] = "list"
    """Always "list"."""
    data: list[WorkerOut]
    """The workers, by host."""
    drained: list[DrainOut]
    """Drained hosts, also those without a worker."""
    queued: int
    """Jobs that wait: of this project, or of all for an admin."""


class DrainIn(BaseModel):
    """A host to drain."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str = Field(min_length=1, max_length=255)
    """A host, as `GET /workers` names it."""
    move: bool = False
    """Move its running jobs too, uncharged: each writes a checkpoint and goes on wherever a worker is free. By default
    they run to their end."""


class UndrainIn(BaseModel):
    """A host that may work again."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str = Field(min_length=1, max_length=255)
    """A drained host."""


class UsageRowOut(Out):
    """What the jobs of one key have used in a month."""

    project: str
    """Name of the project."""
    owner: str | None
    """Name of the key that submitted the jobs; null for jobs of earlier versions."""
    device_hours: float
    """Hours of one device. Running jobs are counted once a minute."""
    attempts: int
    """How often jobs began."""
    cost: float | None
    """Its price, where the operator sets a rate (ADAMSS_DEVICE_HOUR_RATE)."""


class ShareOut(Out):
    """The project's share of the fleet, which the operator sets by `adamss projects quota`."""

    name: str
    """Its name."""
    weight: float
    """Its share of the devices beside other projects' weights."""
    running_jobs: int
    """Jobs that it runs now."""
    max_running_jobs: int | None
    """Most jobs that it may run at a time; null for no limit."""
    running_devices: int
    """Devices that its jobs hold now."""
    max_running_devices: int | None
    """Most devices that its jobs may hold at a time; null for no limit."""
    device_hours: float
    """Device hours that it has used in this month, by UTC."""
    max_device_hours: float | None
    """Device hours that it may use in a month; null for no limit."""


class DeviceUsageOut(Out):
    """The use of devices in a month."""

    object: Literal["list"] = "list"
    """Always "list"."""
    month: str
    """The month by UTC, such as 2026-11."""
    data: list[UsageRowOut]
    """Use by project and owner; of this project, or of all for an admin."""
    currency: str | None
    """Currency of `cost`; null where the operator sets no rate."""
    project: ShareOut
    """The project of the key."""
