"""Types of what the service answers about workers, the queue and the use of devices."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class RunningJson(TypedDict):
    """A job that a worker runs; without id and name it is another project's."""

    id: str | None
    name: str | None


class DeviceJson(TypedDict):
    """A device that a worker trains on."""

    name: str
    kind: str | None
    memory_bytes: int | None
    free_bytes: int | None
    free: bool
    job: RunningJson | None
    most_jobs: NotRequired[int]  # absent from services before 0.3, as are jobs and left_bytes
    jobs: NotRequired[list[RunningJson]]
    left_bytes: NotRequired[int | None]


class WorkerJson(TypedDict):
    """A worker that lives."""

    id: str
    host: str
    pid: int
    devices: list[DeviceJson]
    kind: Literal["cpu", "cuda"] | None
    memory_bytes: int | None
    bf16: bool
    quantization: bool
    slots: int | None
    free: int | None
    jobs: list[RunningJson]
    drained: bool
    spec_version: int
    started_at: str
    seen_at: str


class DrainJson(TypedDict):
    """A host whose workers start nothing new."""

    host: str
    move: bool
    since: str


class WorkersJson(TypedDict):
    """The workers that live, the hosts that are drained, and how many jobs wait."""

    data: list[WorkerJson]
    drained: list[DrainJson]
    queued: int


class QueuePlaceJson(TypedDict):
    """The place of a job among all that wait, why it waits, and when it is expected to start."""

    place: int | None
    reason: str
    expected_start: str | None
    earliest_start: str | None
    latest_start: str | None


class QueuedJobJson(QueuePlaceJson):
    """A job that waits."""

    id: str
    name: str
    owner: str | None
    priority: int
    devices: int
    device_kind: str | None
    queued_at: str


class QueueJson(TypedDict):
    """The waiting jobs in the order of their expected starts, and how many wait in all projects."""

    data: list[QueuedJobJson]
    waiting: int


class UsageRowJson(TypedDict):
    """What the jobs of one key have used in a month."""

    project: str
    owner: str | None
    device_hours: float
    attempts: int
    cost: float | None


class ShareJson(TypedDict):
    """The project's share of the fleet."""

    name: str
    weight: float
    running_jobs: int
    max_running_jobs: int | None
    running_devices: int
    max_running_devices: int | None
    device_hours: float
    max_device_hours: float | None


class UsageJson(TypedDict):
    """The use of devices in a month, and the share of the key's project."""

    month: str
    data: list[UsageRowJson]
    currency: str | None
    project: ShareJson
