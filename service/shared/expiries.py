"""Tell how long files are kept: artifacts, checkpoints and logs of ended jobs, and data sets that nobody uses.

Nothing here removes anything: `worker/expired_files.py` does, `adamss retention` and the API show it before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from adamss_core.fileio.walk import files_below
from adamss_core.spec.job import ancestor_of
from service.shared.database.tables import (
    TERMINAL,
    UNFINISHED,
    Artifact,
    Checkpoint,
    Dataset,
    Job,
    Json,
    ModelVersion,
    StoredFile,
)
from service.shared.datasets import dataset_ids, uses_dataset
from service.shared.jobs.job_queries import unfinished_naming
from service.shared.settings import Settings
from service.shared.storage.home import JobFolder

Kind = Literal["artifacts", "checkpoints", "logs"]
METRICS = "metrics"  # the artifact of a job's numbers
KINDS: tuple[Kind, ...] = get_args(Kind)
_PARTS: dict[Kind, str] = {"checkpoints": "/checkpoints/", "logs": "/train.log@"}  # of the names in a store


@dataclass(frozen=True)
class Expiry:
    """Files with an end.

    Attributes:
        id: of the job or data set.
        name: of it, for people.
        until: from when on they may be removed.
    """

    kind: Kind | Literal["dataset"]
    id: str
    name: str
    until: datetime
    size_bytes: int


def kept_until(settings: Settings, kind: Kind, ended_at: datetime | None, own: Json | None) -> datetime | None:
    """Return until when a job's files are kept; None for ever, or while it has not ended.

    Args:
        own: the `retention` block of the job's spec, which goes before the operator's default.
    """
    chosen: float | Literal["forever"] | None = (own or {}).get(f"{kind}_days")
    default: float | None = getattr(settings, f"retain_{kind}_days")
    days = default if chosen is None else chosen
    if days is None or days == "forever" or ended_at is None:
        return None
    return ended_at + timedelta(days=float(days))


def expiries(settings: Settings, session: Session) -> Iterator[Expiry]:
    """Yield everything that has an end, that of jobs first; what unfinished jobs need included."""
    retention = Job.spec["retention"]
    ended = select(Job.id, Job.name, Job.ended_at, retention).where(Job.status.in_(TERMINAL)).order_by(Job.ended_at)
    artifacts = _sums(session, Artifact, func.sum(Artifact.size_bytes), Artifact.name != METRICS)
    checkpoints = _sums(session, Checkpoint, func.count())
    stored = {kind: _stored(session, part) for kind, part in _PARTS.items()}
    registered = set(session.scalars(select(ModelVersion.job_id)))
    for job_id, name, ended_at, own in session.execute(ended):
        folder = settings.files.job(job_id)
        logged = folder.log.exists() or job_id in stored["logs"]
        there = {
            "artifacts": job_id in artifacts and job_id not in registered,
            "checkpoints": job_id in checkpoints,
            "logs": logged,
        }
        for kind in KINDS:
            if there[kind] and (until := kept_until(settings, kind, ended_at, own)) is not None:
                size = artifacts[job_id] if kind == "artifacts" else stored[kind].get(job_id) or _size(folder, kind)
                yield Expiry(kind, job_id, name, until, size)
    yield from _datasets(settings, session)


def models_of(job_id: str) -> tuple[ColumnElement[bool], ...]:
    """Build the conditions on the artifacts of a job that are kept no longer: its metrics stay, which are small."""
    return Artifact.job_id == job_id, Artifact.name != METRICS


def is_needed(session: Session, job: Job) -> bool:
    """Return whether an unfinished job starts from the files of a job, or evaluates its model."""
    others = unfinished_naming(session, job.project_id, job.id)
    return any(job.id in (ancestor_of(other.spec.get("init_from")), other.evaluates) for other in others)


def is_used(session: Session, dataset: Dataset) -> bool:
    """Return whether an unfinished job uses a data set."""
    return any(uses_dataset(job, dataset.id) for job in unfinished_naming(session, dataset.project_id, dataset.id))


def _datasets(settings: Settings, session: Session) -> Iterator[Expiry]:
    if settings.retain_datasets_days is None:
        return
    kept, used = timedelta(days=settings.retain_datasets_days), _last_use(session)
    alive = select(Dataset).where(Dataset.deleted_at.is_(None)).order_by(Dataset.created_at)
    for dataset in session.scalars(alive):
        last = used.get(dataset.id, dataset.created_at)
        if last is not None:
            until = max(last, dataset.created_at) + kept
            yield Expiry("dataset", dataset.id, dataset.name, until, dataset.size_bytes)


def _last_use(session: Session) -> dict[str, datetime | None]:
    """Return when the last job with a data set ended, None where one has not, by the data set's id."""
    found: dict[str, datetime | None] = {}
    blocks = (Job.resolved[("spec", "dataset")], Job.spec["dataset"])
    statement = select(*blocks, Job.status, Job.ended_at).order_by(Job.ended_at)
    for planned, sent, status, ended_at in session.execute(statement):
        for one in dataset_ids(planned or sent):
            waits = status in UNFINISHED or found.get(one, ended_at) is None
            found[one] = None if waits else ended_at
    return found


def _sums(
    session: Session, table: type[Artifact] | type[Checkpoint], value: ColumnElement[Any], *where: ColumnElement[bool]
) -> dict[str, int]:
    found = session.execute(select(table.job_id, value).where(*where).group_by(table.job_id))
    return {job_id: int(total) for job_id, total in found}


def _stored(session: Session, part: str) -> dict[str, int]:
    """Sum up what a store has of each job, whichever host wrote it."""
    named = StoredFile.name.startswith("jobs/"), StoredFile.name.contains(part, autoescape=True)
    found = session.execute(
        select(StoredFile.owner, func.sum(StoredFile.size_bytes)).where(*named).group_by(StoredFile.owner)
    )
    return {owner: int(total) for owner, total in found}


def _size(folder: JobFolder, kind: Kind) -> int:
    with suppress(FileNotFoundError):
        if kind == "logs":
            return folder.log.stat().st_size
        return sum(path.stat().st_size for path in files_below(folder.checkpoints))
    return 0
