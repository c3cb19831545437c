"""Projects and their quotas: the settings', unless a project has its own."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.projects import repository
from service.shared.database.tables import LEASED, JobStatus, Project
from service.shared.errors import NotFound, TooLarge, TooManyRequests
from service.shared.settings import Settings

WAITING = (JobStatus.QUEUED, JobStatus.PAUSED)
QUEUE_RETRY_SECONDS = 60


@dataclass(frozen=True)
class Quotas:
    """None is no limit."""

    queued_jobs: int | None
    running_jobs: int | None
    storage_bytes: int | None
    upload_bytes: int | None


@dataclass(frozen=True)
class ProjectInfo:
    """A project as it is listed: what it may use, and what it does."""

    id: str
    name: str
    quotas: Quotas
    queued_jobs: int
    running_jobs: int
    storage_bytes: int


def quotas_of(settings: Settings, project: Project) -> Quotas:
    return Quotas(
        queued_jobs=_first(project.max_queued_jobs, settings.project_queued_jobs),
        running_jobs=_first(project.max_running_jobs, settings.project_running_jobs),
        storage_bytes=_first(project.max_storage_bytes, settings.project_storage_bytes),
        upload_bytes=upload_limit(settings, project),
    )


def upload_limit(settings: Settings, project: Project) -> int:
    """Never more than the service's own."""
    return min(settings.max_upload_bytes, _first(project.max_upload_bytes, settings.max_upload_bytes) or 0)


def check_submit(session: Session, settings: Settings, project_id: str) -> None:
    """Whether the project may have one more job that waits; held until the transaction ends.

    Raises:
        TooManyRequests: its queue is full.
        TooLarge: its storage is.
    """
    project = _locked(session, project_id)
    limit = quotas_of(settings, project).queued_jobs
    if limit is not None and repository.count_jobs(session, project_id, WAITING) >= limit:
        raise TooManyRequests(
            f"{limit} jobs of this project wait already, as many as it may have. Submit again when some have begun, or "
            "cancel some.",
            code="queue_full",
            retry_after=QUEUE_RETRY_SECONDS,
        )
    check_storage(session, settings, project_id, 0)


def check_storage(session: Session, settings: Settings, project_id: str, added_bytes: int) -> None:
    """Whether the project has room for so many bytes more; held until the transaction ends.

    Raises:
        TooLarge: it has not.
    """
    project = _locked(session, project_id)
    limit = quotas_of(settings, project).storage_bytes
    if limit is None:
        return
    used = repository.used_bytes(session, project_id)
    if used + added_bytes > limit or used >= limit:
        raise TooLarge(
            f"This project uses {used:,} of its {limit:,} bytes. Delete data sets or jobs that are no longer needed.",
            code="storage_full",
        )


def list_projects(session: Session, settings: Settings) -> list[ProjectInfo]:
    return [
        ProjectInfo(
            id=project.id,
            name=project.name,
            quotas=quotas_of(settings, project),
            queued_jobs=repository.count_jobs(session, project.id, WAITING),
            running_jobs=repository.count_jobs(session, project.id, LEASED),
            storage_bytes=repository.used_bytes(session, project.id),
        )
        for project in repository.list_all(session)
    ]


def set_quotas(session: Session, name: str, changes: dict[str, int | None]) -> None:
    """Gives a project quotas of its own; None takes one away again.

    Args:
        changes: by the names of `Quotas`.

    Raises:
        NotFound: there is no such project.
    """
    project = find_project(session, name)
    for quota, value in changes.items():
        setattr(project, f"max_{quota}", value)


def find_project(session: Session, name: str) -> Project:
    """By its name.

    Raises:
        NotFound: there is none.
    """
    project = repository.find_by_name(session, name)
    if project is None:
        raise NotFound(f"There is no project '{name}'. `adamss projects list` shows them.", code="project_not_found")
    return project


def _locked(session: Session, project_id: str) -> Project:
    project = repository.lock(session, project_id)
    if project is None:
        raise NotFound("This key's project is gone.", code="project_not_found")
    return project


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
