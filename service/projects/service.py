"""Projects and their quotas; a quota of the project overrides the settings' quota."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.projects import repository
from service.shared.database.tables import LEASED, JobStatus, Project, now
from service.shared.errors import Forbidden, NotFound, TooLarge, TooManyRequests
from service.shared.jobs.device_use import HOUR, device_seconds, month_of, next_month
from service.shared.jobs.standing import DEFAULT_WEIGHT, reweigh
from service.shared.settings import Settings

WAITING = (JobStatus.QUEUED, JobStatus.PAUSED)
QUEUE_RETRY_SECONDS = 60


@dataclass(frozen=True)
class Quotas:
    """Limits of a project; None means unlimited."""

    queued_jobs: int | None
    running_jobs: int | None
    running_devices: int | None
    device_hours: float | None
    storage_bytes: int | None
    upload_bytes: int | None


@dataclass(frozen=True)
class ProjectInfo:
    """A listed project with its weight, its quotas and its use of them."""

    id: str
    name: str
    weight: float
    quotas: Quotas
    queued_jobs: int
    running_jobs: int
    running_devices: int
    device_hours: float
    storage_bytes: int


def quotas_of(settings: Settings, project: Project) -> Quotas:
    """Merge a project's quotas with the settings' quotas."""
    return Quotas(
        queued_jobs=_first(project.max_queued_jobs, settings.project_queued_jobs),
        running_jobs=_first(project.max_running_jobs, settings.project_running_jobs),
        running_devices=project.max_running_devices,
        device_hours=project.max_device_hours,
        storage_bytes=_first(project.max_storage_bytes, settings.project_storage_bytes),
        upload_bytes=upload_limit(settings, project),
    )


def upload_limit(settings: Settings, project: Project) -> int:
    """Return the project's largest upload, at most the settings' limit."""
    return min(settings.max_upload_bytes, _first(project.max_upload_bytes, settings.max_upload_bytes) or 0)


def check_submit(session: Session, settings: Settings, project_id: str) -> None:
    """Check that the project may queue one more job; keep the project locked until the transaction ends.

    Raises:
        TooManyRequests: the project's queue is full, or its device hours of the month are used up.
        Forbidden: the project may run no jobs, or no devices.
        TooLarge: the project's storage is full.
    """
    project = _locked(session, project_id)
    _check_may_run(session, quotas_of(settings, project), project.id)
    limit = quotas_of(settings, project).queued_jobs
    if limit is not None and repository.count_jobs(session, project_id, WAITING) >= limit:
        raise TooManyRequests(
            f"This project has {limit} queued or paused jobs already, its limit. Submit again when some have started, "
            "or cancel some.",
            code="queue_full",
            retry_after=QUEUE_RETRY_SECONDS,
        )
    check_storage(session, settings, project_id, 0)


def _check_may_run(session: Session, quotas: Quotas, project_id: str) -> None:
    for name, limit in (("jobs", quotas.running_jobs), ("devices", quotas.running_devices)):
        if limit == 0:
            raise Forbidden(
                f"This project may run no {name}: the operator has set its limit of running {name} to 0 (adamss "
                f"projects quota PROJECT --running-{name} N).",
                code="project_stopped",
            )
    moment = now()
    hours = quotas.device_hours
    if hours is None or (used := device_seconds(session, project_id, month_of(moment)) / HOUR) < hours:
        return
    begins = next_month(moment)
    raise TooManyRequests(
        f"This project has used {used:,.1f} device hours of the {hours:,.1f} of this month. The next month's begin on "
        f"{begins:%Y-%m-%d} at 00:00 UTC; the operator may raise the limit before.",
        code="device_hours_used_up",
        retry_after=max(1, math.ceil((begins - moment).total_seconds())),
    )


def check_storage(session: Session, settings: Settings, project_id: str, added_bytes: int) -> None:
    """Check that the project may store `added_bytes` more; keep the project locked until the transaction ends.

    Raises:
        TooLarge: the project's storage is full.
    """
    project = _locked(session, project_id)
    limit = quotas_of(settings, project).storage_bytes
    if limit is None:
        return
    used = repository.used_bytes(session, project_id)
    if used + added_bytes > limit or used >= limit:
        raise TooLarge(
            f"This project uses {used:,} of its {limit:,} bytes. Delete data sets, models or jobs that are no longer "
            "needed.",
            code="storage_full",
        )


def list_projects(session: Session, settings: Settings) -> list[ProjectInfo]:
    return [
        ProjectInfo(
            id=project.id,
            name=project.name,
            weight=project.weight,
            quotas=quotas_of(settings, project),
            queued_jobs=repository.count_jobs(session, project.id, WAITING),
            running_jobs=repository.count_jobs(session, project.id, LEASED),
            running_devices=repository.count_devices(session, project.id),
            device_hours=device_seconds(session, project.id, month_of(now())) / HOUR,
            storage_bytes=repository.used_bytes(session, project.id),
        )
        for project in repository.list_all(session)
    ]


def share_of(session: Session, settings: Settings, project_id: str) -> dict[str, Any]:
    """Return a project's weight, and its use of jobs, devices and hours beside the limits of them."""
    project = session.get_one(Project, project_id)
    quotas = quotas_of(settings, project)
    return {
        "name": project.name,
        "weight": project.weight,
        "running_jobs": repository.count_jobs(session, project_id, LEASED),
        "max_running_jobs": quotas.running_jobs,
        "running_devices": repository.count_devices(session, project_id),
        "max_running_devices": quotas.running_devices,
        "device_hours": device_seconds(session, project_id, month_of(now())) / HOUR,
        "max_device_hours": quotas.device_hours,
    }


def set_quotas(session: Session, name: str, changes: Mapping[str, float | None]) -> None:
    """Override quotas of a project, or its weight; None removes an override.

    Args:
        changes: values by the field names of `Quotas`, and `weight`.

    Raises:
        NotFound: the project does not exist.
    """
    project = find_project(session, name)
    for quota, value in changes.items():
        if quota == "weight":
            reweigh(project, DEFAULT_WEIGHT if value is None else value)
        else:
            setattr(project, f"max_{quota}", value)


def find_project(session: Session, name: str) -> Project:
    """Find a project by name.

    Raises:
        NotFound: the project does not exist.
    """
    project = repository.find_by_name(session, name)
    if project is None:
        raise NotFound(
            f"Project '{name}' does not exist. `adamss projects list` shows all projects.", code="project_not_found"
        )
    return project


def _locked(session: Session, project_id: str) -> Project:
    project = repository.lock(session, project_id)
    if project is None:
        raise NotFound("The project of this key was deleted.", code="project_not_found")
    return project


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
